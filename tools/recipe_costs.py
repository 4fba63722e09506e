"""What the network, the optimiser and the batches of a recipe cost on some numbers of GPUs; see `tools.estimate`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

import data_loader.data_loaders as loaders
import model.model as networks
from base import TrainerOptions, shard_of
from base.batch_shards import groups
from data_loader.file_loader import FileDataLoader
from model.costs import MEMORY_MODES, NetworkCosts, network_costs
from utils.config.parser import ConfigParser
from utils.errors import UserError
from utils.reporting.tables import NOTHING, table

GIB, MIB = 2**30, 2**20


def costs_of_network(config: ConfigParser, side: int) -> NetworkCosts:
    """What the network of a configuration costs with images of a side."""
    return network_costs(lambda: config.init_obj("arch", networks), side)


def optimizer_copies(config: ConfigParser) -> float:
    """The optimiser's state in copies of the weights: what it holds for one parameter after one step."""
    weight = nn.Parameter(torch.ones(64, 64))
    weight.grad = torch.ones_like(weight)
    optimizer = config.init_obj("optimizer", torch.optim, [weight])
    optimizer.step()
    held = [value for value in optimizer.state[weight].values() if isinstance(value, Tensor) and value.ndim]
    return sum(value.nbytes for value in held) / weight.nbytes


def image_side(config: ConfigParser) -> int:
    """Pixels along a side of what the network sees."""
    loader = getattr(loaders, config["data_loader"]["type"])
    if issubclass(loader, FileDataLoader):
        return config["data_loader"]["args"].get("image_size", loader.image_size)
    return loader.spec.side


def images_at_once(config: ConfigParser, gpus: int) -> tuple[int, int]:
    """The largest shard of a batch that one of N GPUs has, and how much of it it takes at once."""
    batch = config["data_loader"]["args"]["batch_size"]
    shard = max((shard_of(batch, rank, gpus) for rank in range(gpus)), key=len)
    steps = TrainerOptions(**config["trainer"]).accumulate_steps
    if steps is None:  # as many as on `n_gpu` GPUs
        steps = max(math.ceil(config.get("n_gpu", 1) / gpus), 1)
    return len(shard), max(len(part) for part in shard.split(1 if steps == "auto" else steps))


def costs_on(
    config: ConfigParser, network: NetworkCosts, gpus: int, *, copies: float, tflops: float, images_per_core: float
) -> dict[str, Any]:
    """What each of N GPUs holds, and what they train, read and exchange a second."""
    batch, (share, at_once) = config["data_loader"]["args"]["batch_size"], images_at_once(config, gpus)
    gradients = 4 * network.parameters  # DDP's buckets are views of them
    weights_and_state = network.weight_bytes + gradients * (1 + copies)
    checkpoints = TrainerOptions(**config["trainer"]).activation_checkpointing
    rate = tflops * 1e12 / network.training(checkpoints=checkpoints)
    together = rate * batch / share  # the GPU with the largest share is the last to be ready
    reads_files = issubclass(getattr(loaders, config["data_loader"]["type"]), FileDataLoader)
    sent = 2 * (gpus - 1) / gpus * gradients
    return {
        "gpus": gpus,
        "idle_gpus": max(gpus - len(groups(batch)), 0),
        "images_at_once": at_once,
        "weights_gib": network.weight_bytes / GIB,
        "gradients_gib": gradients / GIB,
        "optimizer_gib": copies * gradients / GIB,
        "total_gib": {
            mode: (weights_and_state + network.activations[mode].bytes_of(at_once)) / GIB for mode in MEMORY_MODES
        },
        "images_a_second_each": rate,
        "images_a_second": together,
        "decoding_cores": math.ceil(together / images_per_core) if reads_files else None,
        "all_reduced_bytes_a_step": gradients if gpus > 1 else 0,
        "sent_bytes_a_step_each": sent,
        "sent_bytes_a_second_each": sent * together / batch,
    }


def estimate(config: ConfigParser, gpus: Sequence[int], *, tflops: float, images_per_core: float) -> dict[str, Any]:
    """Everything there is to say of a validated configuration, fit for JSON."""
    side, batch = image_side(config), config["data_loader"]["args"]["batch_size"]
    if max(gpus) > batch:
        raise UserError(
            f"--gpus {max(gpus)}: more GPUs than the {batch} images of a batch; use fewer GPUs or a larger batch"
        )
    network, copies = costs_of_network(config, side), optimizer_copies(config)
    options = TrainerOptions(**config["trainer"])
    given = {"copies": copies, "tflops": tflops, "images_per_core": images_per_core}
    return {
        "name": config["name"],
        "network": config["arch"]["type"],
        "experts": config["arch"]["args"].get("num_experts", 1),
        "image_side": side,
        "batch_size": batch,
        "precision": options.precision,
        "activation_checkpointing": options.activation_checkpointing,
        "accumulate_steps": options.accumulate_steps,
        "parameters": network.parameters,
        "forward_flop": network.forward,
        "training_flop": network.training(checkpoints=False),
        "training_flop_checkpointed": network.training(checkpoints=True),
        "optimizer": config["optimizer"]["type"],
        "optimizer_copies": copies,
        "activation_bytes": {mode: asdict(kept) for mode, kept in network.activations.items()},
        "assumed": {"tflops": tflops, "images_per_core": images_per_core},
        "on": [costs_on(config, network, count, **given) for count in gpus],
    }


def report(found: Mapping[str, Any]) -> str:
    """What `estimate` found, for the screen."""
    own = "with" if found["activation_checkpointing"] else "without"
    kept = [
        [title, *(f"{found['activation_bytes'][mode][key] / MIB:.2f}" for mode in MEMORY_MODES)]
        for title, key in (
            ("stored per image", "per_image"),
            ("recomputed block, per image", "recomputed"),
            ("fixed", "fixed"),
        )
    ]
    memory, speed = [], []
    for row in found["on"]:
        parts = [row[f"{part}_gib"] for part in ("weights", "gradients", "optimizer")]
        totals = [row["total_gib"][mode] for mode in MEMORY_MODES]
        memory.append([str(row["gpus"]), str(row["images_at_once"]), *(f"{value:.2f}" for value in parts + totals)])
        cores = NOTHING if row["decoding_cores"] is None else str(row["decoding_cores"])
        sent = [f"{row['sent_bytes_a_step_each'] / MIB:.0f}", f"{row['sent_bytes_a_second_each'] / 1e9:.2f}"]
        speed.append([str(row["gpus"]), f"{row['images_a_second']:.0f}", cores, *sent])
    assumed = found["assumed"]
    side, flop = found["image_side"], [found[f"{name}_flop"] / 1e9 for name in ("forward", "training")]
    lines = [
        f"{found['name']}: {found['network']} with {found['experts']} experts, images {side}×{side}, "
        f"{found['batch_size']} a batch; {found['precision']}, {own} activation checkpointing",
        f"parameters  {found['parameters']:,}",
        f"forward     {flop[0]:.3f} GFLOP an image (2 a multiply-add)",
        f"training    {flop[1]:.3f} GFLOP an image; "
        f"{found['training_flop_checkpointed'] / 1e9:.3f} with activation checkpointing (chk.)",
        f"{found['optimizer']:11} {found['optimizer_copies']:.2f} copies of the weights",
        "",
        table(["activations, MiB", *MEMORY_MODES], kept),
        "",
        "Memory of a GPU, GiB; tf32 as fp32, fp16 as bf16 (excluding CUDA itself and workspaces; see --help):",
        table(["GPUs", "images at once", "weights", "gradients", "optimiser", *MEMORY_MODES], memory),
        "",
        f"Estimated speed, assuming {assumed['tflops']:g} TFLOP/s sustained on each GPU"
        f" (--tflops) and {assumed['images_per_core']:g} images/s decoded on a core (--images_per_core):",
        table(["GPUs", "images/s to read", "cores to decode", "MiB sent a step", "GB/s sent by each GPU"], speed),
    ]
    lines += [
        f"{row['gpus']} GPUs: {row['idle_gpus']} would be idle (not counted): a batch of {found['batch_size']} images "
        f"has only {row['gpus'] - row['idle_gpus']} groups, one GPU each"
        for row in found["on"]
        if row["idle_gpus"]
    ]
    return "\n".join(lines)
