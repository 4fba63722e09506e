"""Activation checkpointing changes what is kept for the backward pass, and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from model import model as networks
from model.losses.bs_expert import BSExpertLoss

COUNTS = [50, 20, 10, 5, 1]


class SmallBottleneckModel(networks.ExpertsModel):
    """The ImageNet networks' layout, small enough to run often."""

    architecture = replace(networks.IMAGENET, blocks=(1, 2, 1, 1), widths=(8, 8, 16, 16))


KINDS = [networks.ResNet32Model, networks.ResNet32Model_B, SmallBottleneckModel]


def build(kind=networks.ResNet32Model, *, checkpoints=True, **arguments):
    torch.manual_seed(0)
    arguments = {"num_experts": 3, "use_norm": True, "returns_feat": True} | arguments
    network = kind(num_classes=len(COUNTS), **arguments)
    network.backbone.checkpoints_activations = checkpoints
    return network


def batch(size=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.arange(size) % len(COUNTS)


def loss_of(network, images, targets):
    result = network(images)
    criterion = BSExpertLoss(COUNTS, [0.0, 1.0, 2.0])
    return criterion(result["output"], targets, {"logits": result["logits"].transpose(0, 1)})


def outcome(network, *, steps=2):
    """All that training leaves: losses, gradients, running statistics and counts of batches."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    left = {}
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(network, *batch())
        loss.backward()
        left[f"loss {step}"] = loss.detach()
        optimizer.step()
    left |= {f"gradient {name}": parameter.grad for name, parameter in network.named_parameters()}
    return left | {f"buffer {name}": buffer for name, buffer in network.named_buffers()}


def assert_the_same(plain, checkpointed):
    assert plain.keys() == checkpointed.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointed[name])] == []


def kept_bytes(network, images):
    """Bytes of the storages that autograd keeps up to the features, beside the network's own."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*network.parameters(), *network.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = network.backbone.expert_features(images)
    del features  # until here it holds what was kept, so that no address is used twice
    return sum(kept.values())


def count_calls(network):
    """How often blocks are run, in a list of one number."""
    calls = [0]

    def count(module, inputs):
        calls[0] += 1

    blocks = [module for module in network.modules() if isinstance(module, networks.BasicBlock)]
    for block in blocks:
        block.register_forward_pre_hook(count)
    return calls, len(blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_to_the_last_bit(kind):
    assert_the_same(outcome(build(kind, checkpoints=False)), outcome(build(kind)))


def test_training_under_autocast_is_the_same_to_the_last_bit():
    with torch.autocast("cpu", torch.bfloat16):
        plain = loss_of(plain_network := build(checkpoints=False), *batch())
        checkpointed = loss_of(network := build(), *batch())
    plain.backward()
    checkpointed.backward()  # outside of autocast, as in the training step: the second pass must enter it by itself
    assert torch.equal(plain, checkpointed)
    twins = zip(plain_network.parameters(), network.parameters(), strict=True)
    assert all(torch.equal(first.grad, second.grad) for first, second in twins)
    assert all(torch.equal(a, b) for a, b in zip(plain_network.buffers(), network.buffers(), strict=True))


def change_batch_norms(network, change):
    for module in list(network.modules()):
        if isinstance(module, _BatchNorm):
            change(module)
    return network


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: setattr(norm, "momentum", None),  # a plain mean over batches: depends on their count
        lambda norm: norm.eval(),  # frozen: normalises by its running statistics
    ],
    ids=["cumulative mean", "frozen"],
)
def test_other_uses_of_batch_norm_are_the_same_to_the_last_bit(change):
    plain, checkpointed = (change_batch_norms(build(checkpoints=value), change) for value in (False, True))
    assert_the_same(outcome(plain), outcome(checkpointed))


def test_synchronised_batch_norm_is_the_same_to_the_last_bit():
    plain, checkpointed = (nn.SyncBatchNorm.convert_sync_batchnorm(build(checkpoints=value)) for value in (False, True))
    assert isinstance(checkpointed.backbone.layer1[0].bn1, nn.SyncBatchNorm)
    assert_the_same(outcome(plain), outcome(checkpointed))


def test_each_batch_is_counted_once_in_the_modules_own_buffers():
    network = build()
    own = dict(network.named_buffers())
    outcome(network, steps=3)
    assert all(buffer is own[name] for name, buffer in network.named_buffers())
    assert {int(buffer) for name, buffer in own.items() if name.endswith("num_batches_tracked")} == {3}


def test_running_statistics_survive_a_failing_backward_pass():
    network = build()
    own = dict(network.named_buffers())
    loss = loss_of(network, *batch())

    def fail(module, inputs, output):
        raise RuntimeError("out of memory, say")

    network.backbone.layer1[0].conv2.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory, say"):
        loss.backward()
    assert all(buffer is own[name] for name, buffer in network.named_buffers())


def test_every_block_runs_twice_in_training_and_once_otherwise():
    network = build(num_experts=1)
    calls, num_blocks = count_calls(network)
    assert num_blocks == 15
    network(batch()[0]).sum().backward()
    assert calls == [2 * num_blocks]
    with torch.no_grad():
        network(batch()[0])
    assert calls == [3 * num_blocks]
    network.eval()
    network(batch()[0]).sum().backward()
    assert calls == [4 * num_blocks]


def test_only_the_inputs_of_blocks_are_kept():
    plain, checkpointed = (build(checkpoints=value, num_experts=1) for value in (False, True))
    images, _ = batch(4)
    pixels = 4 * 32 * 32
    # the stem keeps the images, its convolution's output and that one's mean and deviation; a stage's first block takes
    # the output of the stage before, and the first block of all the stem's
    stem = 3 * pixels + 16 * pixels + 2 * 16
    inputs = (5 + 1) * 16 * pixels + (4 + 1) * 32 * pixels // 4 + 4 * 64 * pixels // 16
    assert kept_bytes(checkpointed, images) == 4 * (stem + inputs)
    assert kept_bytes(plain, images) > 2 * kept_bytes(checkpointed, images)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_recomputed_in_evaluation(kind):
    plain, checkpointed = (build(kind, checkpoints=value).eval() for value in (False, True))
    assert kept_bytes(plain, batch()[0]) == kept_bytes(checkpointed, batch()[0])


def test_the_state_dict_knows_nothing_of_it():
    plain, checkpointed = build(checkpoints=False).state_dict(), build().state_dict()
    assert list(plain) == list(checkpointed)
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


def test_it_is_off_unless_asked_for():
    assert networks.ResNet32Model(num_classes=2).backbone.checkpoints_activations is False


def test_compiled_networks_count_each_batch_once_too():
    # linear classifiers: torch 2.11 can't compile the cosine one without a warning
    plain, checkpointed = (build(SmallBottleneckModel, checkpoints=value, use_norm=False) for value in (False, True))
    expected = loss_of(plain, *batch())
    torch.compiler.reset()
    loss = loss_of(torch.compile(checkpointed, backend="aot_eager"), *batch())
    torch.testing.assert_close(loss, expected)
    for each in (loss, expected):
        each.backward()
    for twin, buffer in zip(plain.buffers(), checkpointed.buffers(), strict=True):
        torch.testing.assert_close(twin, buffer)
    for twin, parameter in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(twin.grad, parameter.grad)
