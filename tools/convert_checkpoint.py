"""`python -m tools.convert_checkpoint OLD NEW`: a published checkpoint becomes one that loads without unpickling.

Nothing in OLD is executed: its tensors and plain data are taken over, its pickled configuration object is read as
a record. Every name and shape is checked against the configuration, `module.` is taken off the names.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.storage_free import without_storage
from trainer.build import build_model
from trainer.config.run_config import run_config
from trainer.weights import weight_differences
from utils.config.command_line import OneLineParser
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.errors import UserError, run_main
from utils.files.checkpoint import CheckpointError, save_checkpoint, without_parallel_prefix
from utils.files.checkpoint_schema import FORMAT_VERSION, check_structure
from utils.files.inert_pickle import InertRecord, load_inertly

_SCALARS = (int, float, str, bool, type(None))


def plain(value: Any) -> Any:
    """Containers, numbers and text as they are (tuples as lists); records and other objects become their text.

    Tensors stay tensors.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if isinstance(key, _SCALARS)}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value if isinstance(value, (*_SCALARS, torch.Tensor)) else type(value).__name__


def configuration_of(content: Mapping[str, Any], old: Path, given: Path | None) -> ConfigParser:
    """The configuration: the file that is given, the record inside the checkpoint, or the file beside it."""
    held = content.get("config")
    inside = next((v for v in vars(held).values() if _is_recipe(v)), None) if isinstance(held, InertRecord) else held
    if given is not None:
        return ConfigParser.from_file(given)
    if _is_recipe(inside):
        check_structure({"state_dict": {}, "config": inside}, old, records=(InertRecord,))
        return ConfigParser(plain(inside), source=f"the configuration inside {old}")
    beside = old.parent / CONFIG_NAME
    if beside.is_file():
        return ConfigParser.from_file(beside)
    raise UserError(f"{old}: contains no configuration and {beside} does not exist; give one with -c FILE")


def _is_recipe(value: Any) -> bool:
    return isinstance(value, Mapping) and "arch" in value


def main() -> None:
    """Read, check, write."""
    parser = OneLineParser(
        prog="python -m tools.convert_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m tools.convert_checkpoint published.pth converted/checkpoint-epoch200.pth",
    )
    parser.add_argument("old", type=Path, help="the published checkpoint")
    parser.add_argument("new", type=Path, help="where to write; its folder also gets a config.json if it has none")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration, where OLD holds none")
    arguments = parser.parse_args()
    if arguments.new.exists():
        raise UserError(f"{arguments.new}: already exists; choose another name (nothing is overwritten)")
    content = load_inertly(arguments.old)
    config = configuration_of(content, arguments.old, arguments.config)
    run = run_config(config)
    state = without_parallel_prefix(content["state_dict"])
    with without_storage():
        different = weight_differences(build_model(run, torch.device("meta")), state)
    if different:
        raise CheckpointError(f"{arguments.old}: does not match the network in {config.source}: {different}")
    beside = arguments.new.parent / CONFIG_NAME
    if beside.is_file() and read_json(beside) != config.config:
        raise UserError(f"{beside}: belongs to another run; write {arguments.new.name} to another folder")
    facts: dict[str, Any] = {
        name: plain(content[name]) for name in ("arch", "epoch", "monitor_best", "optimizer") if name in content
    }
    new = {**facts, "state_dict": state, "config": config.config}
    check_structure({"format_version": FORMAT_VERSION, **new}, arguments.old)
    save_checkpoint(arguments.new, new)
    if not beside.is_file():
        config.write(arguments.new.parent)
    print(f"Checkpoint written to {arguments.new} ({len(state)} tensors, epoch {facts.get('epoch', 'unknown')})")


if __name__ == "__main__":
    run_main(main)
