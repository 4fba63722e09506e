"""What a recipe costs, before anything is trained: `python -m tools.estimate CONFIG`. It needs neither data nor a GPU.

The network runs on tensors without storage, so that a figure is not measured but counted:

- activations: the distinct storages that autograd keeps from the forward for the backward pass, weights aside; with
  activation checkpointing also the largest residual block, which is there again while its gradient is computed
  (half precision by the rules of autocast on a CPU);
- optimiser state: what the optimiser holds for one parameter after one step;
- a step's operations: 3 × the forward pass's, 4 × those of residual blocks with activation checkpointing;
- gradients exchanged: 4 bytes a parameter; in a ring of N GPUs each sends 2(N − 1)/N times as much.

Not counted: what CUDA itself holds, workspaces of convolutions, gradients of activations in flight, fragmentation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from utils.config.command_line import positive_integer, positive_number, tool_parser
from utils.config.overrides import add_override_flags, read_overrides
from utils.config.parser import ConfigParser
from utils.errors import run_main
from utils.files.writing import write_text
from utils.slow_imports import slow_imports

_WHAT, _, _HOW = (__doc__ or "").partition("\n\n")
TFLOPS = 20.0
IMAGES_PER_CORE = 350.0
GPUS = (1, 2, 4, 8)

EXAMPLES = """examples:
  python -m tools.estimate configs/mixup/standard_training/config_iNaturalist_resnet50_bs-experts.json
  python -m tools.estimate configs/mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json \\
      --gpus 8 16 --set data_loader.args.batch_size=256 --set trainer.activation_checkpointing=true

A batch is the global one, of which each GPU has its share; where there are fewer than the recipe's n_gpu, a share is
taken in several parts. Memory is what a GPU holds at the end of its forward pass: leave some headroom."""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    usage = "CONFIG [--gpus N ...] [--tflops N] [--images_per_core N] [--out FILE] [flags of train.py]"
    parser = tool_parser("tools.estimate", usage, _WHAT, f"{EXAMPLES}\n\n{_HOW.strip()}")
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="the recipe (JSON)")
    add(
        "--gpus",
        type=positive_integer,
        nargs="+",
        metavar="N",
        help="numbers of GPUs; default: 1 2 4 8, and the recipe's own",
    )
    add(
        "--tflops",
        type=positive_number,
        default=TFLOPS,
        metavar="N",
        help="TFLOP/s that a GPU sustains in training; default: 20, a careful guess for a recent data-centre GPU in "
        "half precision; small images reach far less. A measured run tells: images/s × GFLOP an image",
    )
    add(
        "--images_per_core",
        type=positive_number,
        default=IMAGES_PER_CORE,
        metavar="N",
        help="JPEGs that a core decodes a second; default: 350, on the careful side for 500×375 pixels. "
        "`python -m benchmarks.decode_throughput` measures it",
    )
    add("--out", type=Path, metavar="FILE", help="write every figure as JSON, too")
    add_override_flags(parser)
    return parser


def main() -> None:
    """Print, and write, what the recipe costs."""
    arguments = build_parser().parse_args()
    overrides = read_overrides(arguments)
    config = ConfigParser.from_file(arguments.config, overrides=overrides)
    with slow_imports():
        from tools.recipe_costs import estimate, report  # noqa: PLC0415 - takes seconds
        from trainer.config.run_config import find_problems  # noqa: PLC0415
    config.validate(find_problems)
    batch = config["data_loader"]["args"]["batch_size"]
    gpus = arguments.gpus or [n for n in (*GPUS, config.get("n_gpu", 1)) if 1 <= n <= batch]
    found = estimate(config, sorted(set(gpus)), tflops=arguments.tflops, images_per_core=arguments.images_per_core)
    print(report(found))
    if arguments.out:
        write_text(arguments.out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_main(main)
