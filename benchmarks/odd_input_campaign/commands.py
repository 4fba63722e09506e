"""What the cases run, in a process that has imported everything already: the scripts' own `main`, by their names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def import_everything() -> None:
    """What would take seconds in each case; torch is kept to one thread, so that processes can be forked."""
    import torch  # noqa: PLC0415 - the command line must be read without it

    torch.set_num_threads(1)
    for name in ("trainer.launch", "trainer.evaluation.commands", "tools.convert_checkpoint", "tools.estimate"):
        __import__(name)
    for name in ("data_loader.check", "data_loader.lists.__main__", "sklearn.datasets", "matplotlib.pyplot", "train"):
        __import__(name)
    for name in ("torch.utils.tensorboard", "torchvision", "torch._dynamo"):
        __import__(name)


def run(command: str, flags: list[str]) -> None:
    """Run a command as if it had been typed, and end the process with its exit code."""
    from utils.errors import run_main  # noqa: PLC0415 - see above

    sys.argv = [f"{command}.py", *flags]
    run_main(COMMANDS[command])
    sys.exit(0)


def _train() -> None:
    import train  # noqa: PLC0415

    train.main()


def _train_and_test() -> None:
    """`train.py`, and `test.py` on its last checkpoint."""
    try:
        _train()
    except SystemExit as ended:
        if ended.code:
            raise
    (checkpoint,) = Path().glob("runs/models/*/*/checkpoint-epoch1.pth")
    sys.argv = ["test.py", "-r", str(checkpoint)]
    _evaluate(None)


def _build() -> None:
    """`train.py`, but where data would be read the parts are built without them, the network without storage."""
    import trainer.launch  # noqa: PLC0415

    trainer.launch.train_run = _build_without_data  # type: ignore[assignment]
    _train()


def _build_without_data(parser: Any, config: Any, *_: Any, **__: Any) -> None:
    import torch  # noqa: PLC0415

    from trainer.build import bare_network, build_combiner  # noqa: PLC0415
    from trainer.config.components import DATA_LOADER  # noqa: PLC0415
    from trainer.config.config_warnings import find_config_warnings  # noqa: PLC0415
    from utils.config.sections import build  # noqa: PLC0415

    find_config_warnings(config)
    build(config.data_loader, DATA_LOADER, context={"seed": config.seed}, path="data_loader")
    build_combiner(config)
    with torch.device("meta"):
        bare_network(config)


def _evaluate(preset: str | None) -> None:
    from trainer.evaluation.scripts import run_sweep, run_test  # noqa: PLC0415

    run_test() if preset is None else run_sweep(preset)


def _module(name: str) -> None:
    importlib.import_module(name).main()


COMMANDS: dict[str, Callable[[], None]] = {
    "train": _train,
    "train and test": _train_and_test,
    "build": _build,
    "test": partial(_evaluate, None),
    "test_all_cifar": partial(_evaluate, "cifar"),
    "convert": partial(_module, "tools.convert_checkpoint"),
    "estimate": partial(_module, "tools.estimate"),
    "check": partial(_module, "data_loader.check"),
    "lists": partial(_module, "data_loader.lists.__main__"),
}
"""Name → what it runs. `build` is `train` up to the reading of data."""
