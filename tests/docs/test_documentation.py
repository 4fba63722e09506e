"""What README, docs and CONTRIBUTING say is there: links, commands, flags, keys and paths."""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from torch.distributed.run import get_args_parser

import data_loader.data_loaders as loaders
import model.model as networks
from base import TrainerOptions
from tests.scripts.command_line import MAINS, ROOT
from trainer.config.config_warnings import find_config_warnings
from trainer.config.run_config import find_problems, run_config
from trainer.loaders import build_loader
from utils.config.command_line import OneLineParser
from utils.config.json_files import read_json, without_comments
from utils.config.parser import ConfigParser

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST_README = 150  # lines
COMMANDS_THAT_OTHERS_MAKE = {"pytest", "venv"}  # python -m …
PLACEHOLDERS = {"…", "FLAGS"}  # stand for any number of arguments
END_OF_COMMAND = {">", "|", "&&"}
FLAGS_OF_SLURM = {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--signal", "--requeue", "--dependency"}
FOLDERS = "base|benchmarks|configs|data_loader|docs|model|tests|tools|trainer|utils"


class Found(NamedTuple):
    """A piece of text and the page it stands on."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[str]:
    """The code blocks of a page, without their fences."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose_of(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans_of(text: str) -> list[str]:
    """What stands in backticks in prose and tables."""
    return re.findall(r"`([^`]+)`", prose_of(text))


def expanded(text: str) -> list[str]:
    """`a{b,c}` → `ab`, `ac`, as a shell has it."""
    parts = [part.split(",") if i % 2 else [part] for i, part in enumerate(re.split(r"\{([^{}]*,[^{}]*)\}", text))]
    return ["".join(choice) for choice in itertools.product(*parts)]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors_of(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose_of(text), re.MULTILINE)}


def words_of(line: str) -> list[str]:
    """A shell's words, what it would put in for `$NAME` and `$(…)` as one word; comments left out."""
    return shlex.split(re.sub(r"\$\([^)]*\)|\$\w+", "VALUE", line), comments=True)


def commands_of(text: str) -> Iterator[list[str]]:
    """Every command of a page that runs Python, from the word that does."""
    lines = [line for block in blocks_of(text) for line in block.replace("\\\n", " ").splitlines()]
    spans = [span for span in spans_of(text) if span.startswith(("python ", "torchrun "))]
    for line in [*(line for line in lines if re.search(r"\b(python|torchrun) ", line)), *spans]:
        words = [word for word in words_of(line) if word not in PLACEHOLDERS]
        start = next((i for i, word in enumerate(words) if Path(word).name in ("python", "torchrun")), None)
        if start is not None:
            yield list(itertools.takewhile(lambda word: word not in END_OF_COMMAND, words[start:]))


def script_and_arguments(words: list[str]) -> tuple[str, list[str]]:
    """What a command runs, a script or a module, and the arguments that it gets."""
    if words[0] == "torchrun":
        launch, unknown = get_args_parser().parse_known_args(words[1:])
        assert unknown == []
        return launch.training_script, launch.training_script_args
    return (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])


def main_of(script: str) -> Callable[[], object]:
    if script in MAINS:
        return MAINS[script]
    module = script.removesuffix(".py").replace("/", ".")
    is_package = (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    return importlib.import_module(f"{module}.__main__" if is_package else module).main


class _ReachedError(Exception):
    """Ends a script when it is about to parse its flags."""


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser that a script's `main` builds; nothing else of the script runs."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _ReachedError(parser)

    with pytest.MonkeyPatch.context() as patch:
        for kind in (argparse.ArgumentParser, OneLineParser):
            patch.setattr(kind, "parse_args", stop)
        with pytest.raises(_ReachedError) as reached:
            main_of(script)()
    return reached.value.args[0]


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """The flags of a parser and of its commands."""
    flags: set[str] = set()
    for action in parser._actions:
        flags |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            flags = flags.union(*map(flags_of, action.choices.values()))
    return flags


TEXTS = {name_of(page): page.read_text(encoding="utf8") for page in PAGES}
ALL_TEXT = "\n".join(TEXTS.values())
LINKS = [Found(page, link) for page, text in TEXTS.items() for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(text))]
RELATIVE_LINKS = [found for found in LINKS if "://" not in found.text]
COMMANDS = [Found(page, shlex.join(words)) for page, text in TEXTS.items() for words in commands_of(text)]
SPANS = [Found(page, span) for page, text in TEXTS.items() for span in spans_of(text)]
SCRIPTS = [script_and_arguments(shlex.split(found.text))[0] for found in COMMANDS]
OUR_SCRIPTS = sorted({*MAINS, *SCRIPTS} - COMMANDS_THAT_OTHERS_MAKE)


@pytest.mark.parametrize("found", RELATIVE_LINKS, ids=str)
def test_every_link_leads_somewhere(found: Found) -> None:
    name, _, anchor = found.text.partition("#")
    target = (ROOT / found.page).parent / name if name else ROOT / found.page
    assert target.exists()
    assert not anchor or anchor in anchors_of(target.read_text(encoding="utf8"))


@pytest.mark.parametrize("found", COMMANDS, ids=str)
def test_every_command_is_understood_by_its_script(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    script, arguments = script_and_arguments(shlex.split(found.text))
    if script in COMMANDS_THAT_OTHERS_MAKE:
        return
    try:
        parser_of(script).parse_args(arguments)
    except SystemExit as ended:  # 0: --help
        assert ended.code == 0, capsys.readouterr().err


def test_every_make_command_has_its_rule() -> None:
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", ALL_TEXT, re.MULTILINE))
    assert {"demo", "test", "lint"} <= named <= rules


def test_every_flag_that_is_mentioned_exists() -> None:
    known = FLAGS_OF_SLURM | flags_of(get_args_parser())
    known = known.union(*(flags_of(parser_of(script)) for script in OUR_SCRIPTS))
    mentioned = {
        (page, flag)
        for page, span in SPANS
        for text in expanded(span)
        for flag in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", text)
        if not text.startswith(("apt-get ", "docker ", "pip ", "tensorboard ", ".venv"))
    }
    assert {flag for _, flag in mentioned} >= {"--precision", "--set", "--val", "-r"}
    assert [(page, flag) for page, flag in sorted(mentioned) if flag not in known | {"-m"}] == []


def test_the_table_of_flags_has_every_flag_of_training_with_its_key() -> None:
    rows = re.findall(r"^\| (`-.*?`) \| (.*?) \|", TEXTS["docs/command_line.md"], re.MULTILINE)
    table = {flag: key.strip("`") for cell, key in rows for flag in re.findall(r"`(-[^`]*)`", cell)}
    for action in parser_of("train.py")._actions:
        key = re.search(r"\[([\w.]+)\]$", action.help or "")  # what --help says that the flag sets
        for flag in set(action.option_strings) - {"-h", "--help"}:
            assert flag in table
            assert key is None or table[flag] == key[1]


def signature_names(module: object) -> set[str]:
    return {name for kind in module.__all__ for name in inspect.signature(getattr(module, kind)).parameters}


def test_every_configuration_key_that_is_mentioned_exists() -> None:
    known = {f"trainer.{field.name}" for field in fields(TrainerOptions)}
    known |= {f"data_loader.args.{name}" for name in signature_names(loaders)}
    known |= {f"arch.args.{name}" for name in signature_names(networks)}
    mentioned = set(re.findall(r"(?<![\w/.])((?:data_loader|arch)\.args\.\w+|trainer\.[a-z_]+)(?![\w./])", ALL_TEXT))
    assert mentioned >= {"trainer.checkpoint_minutes", "data_loader.args.verify", "arch.args.num_classes"}
    assert mentioned - known == set()


@pytest.mark.parametrize("page", TEXTS)
def test_every_path_in_the_repository_that_is_named_exists(page: str) -> None:
    named = [span for span in spans_of(TEXTS[page]) if re.fullmatch(rf"(?:{FOLDERS})/[\w{{}},.*/-]*", span)]
    named += re.findall(r"configs/[\w{},/-]+\.json", TEXTS[page])
    wanted = [path for text in named for path in expanded(text)]
    assert [path for path in wanted if not any(ROOT.glob(path.rstrip("/")))] == []


EXAMPLES = re.findall(r"^```jsonc\n(.*?)^```$", ALL_TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_configurations_are_sound(example: str, tmp_path: Path) -> None:
    (parent,) = ROOT.glob(f"configs/**/{json.loads(without_comments(example))['extends']}")
    shutil.copy(parent, tmp_path)
    path = tmp_path / "example.json"
    path.write_text(example, encoding="utf8")
    config = read_json(path)
    assert find_problems(config) == []
    typed = run_config(ConfigParser(config, source="an example"))
    assert find_config_warnings(typed, steps_per_epoch=len(build_loader(typed))) == []
    assert config["name"] != read_json(parent)["name"]


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= LONGEST_README


CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf8")


def test_the_citation_file_has_what_its_format_demands() -> None:
    keys = re.findall(r"^([a-z-]+):", CITATION, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert {"cff-version", "message", "title", "authors", "preferred-citation"} <= set(keys)
    assert "\t" not in CITATION


def test_the_citation_file_names_the_paper() -> None:
    yaml = pytest.importorskip("yaml")
    paper = yaml.safe_load(CITATION)["preferred-citation"]
    assert (paper["type"], paper["year"]) == ("conference-paper", 2023)
    assert [author["family-names"] for author in paper["authors"]][::3] == ["Sanchez Aimar", "Kuhlmann"]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Your own images in one command", "your-own-images-in-one-command"),
        ("Flags of train.py", "flags-of-trainpy"),
        ("Signals: Ctrl-C, SIGTERM", "signals-ctrl-c-sigterm"),
    ],
)
def test_anchors_are_made_as_github_makes_them(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


def test_braces_expand_as_in_a_shell() -> None:
    assert expanded("c{10,50}_{a,b}.json") == ["c10_a.json", "c10_b.json", "c50_a.json", "c50_b.json"]
    assert expanded("checkpoint-epoch{N}.pth") == ["checkpoint-epoch{N}.pth"]


def test_a_wrong_command_is_noticed() -> None:
    text = "```\nsrun torchrun --nnodes=$N \\\n  --rdzv_endpoint=$(a b):1 train.py -c FILE --lerning_rate 1 # x\n```\n"
    ((script, arguments),) = [script_and_arguments(words) for words in commands_of(text)]
    assert (script, arguments) == ("train.py", ["-c", "FILE", "--lerning_rate", "1"])
    with pytest.raises(SystemExit):
        parser_of(script).parse_args(arguments)
