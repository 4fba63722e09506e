"""A JSON schema of configurations, for editors: `python -m tools.schema > balpoe.schema.json`.

An editor that is told of the file (VS Code: `json.schemas` in its settings) completes keys, shows what they mean and
marks what does not fit. What spans several keys is checked by `train.py` alone.
"""

from __future__ import annotations

import argparse
import json

from utils.config.command_line import OneLineParser
from utils.errors import run_main
from utils.slow_imports import slow_imports


def main() -> None:
    """Print the schema."""
    parser = OneLineParser(
        prog="python -m tools.schema", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with slow_imports():
        from trainer.config.run_config import RunConfig  # noqa: PLC0415 - takes seconds
        from utils.config.json_schema import json_schema  # noqa: PLC0415
    print(json.dumps(json_schema(RunConfig), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    run_main(main)
