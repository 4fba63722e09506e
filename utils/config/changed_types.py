"""A flag that changes a section's `type` and leaves the arguments of the type before: one line, with what to write."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from utils.config.origins import Origins
from utils.config.wording import UNKNOWN_KEY
from utils.errors import Problem

_ARGS = ".args."


def told_with_origins(found: Iterable[Problem], config: Mapping[str, Any], origins: Origins) -> Iterator[Problem]:
    """Problems with where their paths were set; those of arguments that a flag's new type has not got are one."""

    def section_left_over(problem: Problem) -> str:
        section, _, _ = problem.path.rpartition(_ARGS)
        by_flag = f"{section}.type" in origins.flags and problem.path not in origins.flags
        return section if by_flag and problem.message.startswith(UNKNOWN_KEY) else ""

    for section, group in groupby(found, section_left_over):
        problems = list(group)
        if not section:
            yield from map(origins.tell, problems)
            continue
        names = [problem.path.removeprefix(section + _ARGS) for problem in problems]
        content = _at(config, section)
        kept = {name: value for name, value in content["args"].items() if name not in names}
        assignment = shlex.quote(f"{section}={json.dumps({**content, 'args': kept}, ensure_ascii=False)}")
        advice = f"to replace the whole section: --set {assignment}"
        yield origins.tell(Problem(f"{section}.args", f"{content['type']} has no {', '.join(names)}; {advice}"))


def _at(config: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for name in path.split("."):
        config = config[name]
    return config
