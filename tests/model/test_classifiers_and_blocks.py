"""The cosine classifier and the shortcuts."""

import math

import pytest
import torch

from model.blocks import Bottleneck, CifarBlockA, PadShortcut
from model.classifiers import CosineClassifier, make_classifier


def test_columns_have_unit_length_at_initialisation():
    weight = CosineClassifier(64, 100, 30.0).weight
    assert weight.shape == (64, 100)
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(100))


def test_logits_by_hand():
    classifier = CosineClassifier(2, 2, 30.0)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 5.0]]))  # columns along the axes
    logits = classifier(torch.tensor([[3.0, 4.0], [1.0, -1.0]]))
    torch.testing.assert_close(logits, torch.tensor([[18.0, 24.0], [30 / math.sqrt(2), -30 / math.sqrt(2)]]))


def test_logits_are_bounded_by_the_scale_and_blind_to_feature_length():
    torch.manual_seed(0)
    classifier = CosineClassifier(8, 20, 16.0)
    features = torch.randn(200, 8)
    logits = classifier(features)
    assert logits.abs().max() <= 16 * (1 + 1e-6)
    torch.testing.assert_close(classifier(1000 * features), logits)
    torch.testing.assert_close(classifier(1e-12 * features), logits)
    torch.testing.assert_close(classifier(classifier.weight.T).diagonal(), torch.full((20,), 16.0))


def test_zero_feature_gives_zero_logits_and_a_small_gradient():
    classifier = CosineClassifier(8, 3, 30.0)
    features = torch.zeros(2, 8, requires_grad=True)
    logits = classifier(features)
    assert torch.equal(logits, torch.zeros(2, 3))
    logits.sum().backward()
    assert features.grad.abs().max() <= 3 * 30
    assert torch.isfinite(classifier.weight.grad).all()


def test_gradient_of_the_cosine():
    classifier = CosineClassifier(4, 3, 30.0).double()
    features = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(classifier, {"weight": w}, (x,)),
                                    (features, classifier.weight))  # fmt: skip


def test_half_precision_does_not_reach_the_cosine():
    classifier = CosineClassifier(64, 10, 30.0)
    features = torch.randn(16, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(features)
        assert (features @ classifier.weight).dtype == torch.bfloat16  # autocast is at work around it
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(features))
    assert classifier(features.bfloat16()).dtype == torch.float32


def test_without_norm_the_classifier_is_linear():
    classifier = make_classifier(8, 3, use_norm=False, scale=30.0)
    features = torch.randn(4, 8)
    torch.testing.assert_close(classifier(features), features @ classifier.weight.T + classifier.bias)


def test_padding_shortcut_by_hand():
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4)
    result = PadShortcut(2, 4, 2)(x)
    assert result.shape == (1, 4, 2, 2)
    assert torch.equal(result[0, 0], torch.zeros(2, 2))
    assert torch.equal(result[0, 1], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    assert torch.equal(result[0, 2], torch.tensor([[16.0, 18.0], [24.0, 26.0]]))
    assert torch.equal(result[0, 3], torch.zeros(2, 2))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_a_padding_shortcut_is_the_slices_and_lies_as_the_images_do(memory_format, stride):
    x = torch.randn(3, 4, 5, 7, requires_grad=True)  # odd sides
    images = x.to(memory_format=memory_format)
    result = PadShortcut(4, 9, stride)(images)
    factors = torch.randn_like(result)
    (found,) = torch.autograd.grad((result * factors).sum(), images)
    (expected,) = torch.autograd.grad((x[:, :, ::stride, ::stride] * factors[:, 2:6]).sum(), x)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=memory_format)


def test_a_silent_residual_leaves_the_shortcut():
    block = CifarBlockA(4, 8, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(block(x)[:, 2:6], x[:, :, ::2, ::2])
    assert sum(parameter.numel() for parameter in block.shortcut.parameters()) == 0


@pytest.mark.parametrize(("options", "inner"), [({}, 64), ({"groups": 32, "group_width": 4}, 128)])
def test_bottleneck_puts_its_stride_on_the_3x3(options, inner):
    block = Bottleneck(64, 64, 2, **options)
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
    assert block.conv2.weight.shape == (inner, inner // options.get("groups", 1), 3, 3)
    assert block(torch.randn(2, 64, 8, 8)).shape == (2, 256, 4, 4)
