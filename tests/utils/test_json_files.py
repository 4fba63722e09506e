"""Configuration files: comments, byte order marks, files on top of other files; each mistake named by its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from utils.config.json_files import UnreadableJsonError, parse_json, read_configuration, read_json, without_comments
from utils.config.parser import ConfigParser
from utils.errors import ConfigError, Problem, UserError

BASE: dict[str, Any] = {
    "name": "base",
    "optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
    "loss": {"type": "BSExpertLoss", "args": {"tau_list": [0, 1, 2]}, "tau_min": 0},
    "metrics": ["accuracy", "top_k_acc"],
}


def write(folder: Path, **files: Any) -> Path:
    """Write files NAME.json, text as it is and anything else as JSON; returns the path of the first."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf8")
    return folder / f"{next(iter(files))}.json"


# --- comments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1} // end', {"a": 1}),
        ('// begin\n{"a": 1}', {"a": 1}),
        ('{"a": /* one */ 1, /* two\n lines */ "b": 2}', {"a": 1, "b": 2}),
        ('{"a": "http://x", "b": "/* no */"}', {"a": "http://x", "b": "/* no */"}),
        (r'{"a": "\"// no", "b": "\\"} // yes', {"a": '"// no', "b": "\\"}),
        ('{"a": 1 /*/ still one */}', {"a": 1}),
        ('{"a": "é"} // ü', {"a": "é"}),
    ],
)
def test_comments_are_passed_over_but_not_in_strings(text: str, value: Any) -> None:
    assert json.loads(without_comments(text)) == value


def test_taking_out_comments_moves_nothing() -> None:
    text = '{ // one\n  "a": 1, /* two\n  three */ "b": 2\n}'
    left = without_comments(text)
    assert len(left) == len(text)
    assert [line.find('"b"') for line in left.splitlines()] == [-1, -1, 11, -1]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n  // a comment\n  "a": 1,,\n}', "line 3, column 10"),
        ('{\n  /* a\n comment */ "a": ,\n}', "line 3, column 18"),
        ('{"a": 1 /* no end', "line 1, column 18"),
        ('{"a": 1 / 2}', "line 1, column 9"),
    ],
)
def test_a_mistake_beside_a_comment_is_told_where_it_stands(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(UserError, match=rf"a\.json: not valid JSON: .* at {place}$"):
        read_json(write(tmp_path, a=text))


def test_keys_that_begin_with_comment_are_passed_over_at_any_depth(tmp_path: Path) -> None:
    text = '{"_comment": 1, "_comment": 2, "a": {"_comment_on_b": [], "b": [{"_comments": {}, "c": 1}]}, "comment": 3}'
    assert read_json(write(tmp_path, a=text)) == {"a": {"b": [{"c": 1}]}, "comment": 3}


# --- odd files --------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"name": "\xc3\xa9"}')
    assert read_json(tmp_path / "a.json") == {"name": "é"}


@pytest.mark.parametrize("depth", [101, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}")])
def test_what_is_nested_too_deep_to_walk_through_is_one_line(
    tmp_path: Path, depth: int, opening: str, closing: str
) -> None:
    path = write(tmp_path, a='{"a": ' + opening * depth + "1" + closing * depth + "}")
    with pytest.raises(UserError, match=r"a\.json: can't be read: nested more than 100 deep$"):
        read_json(path)


def test_what_is_nested_a_hundred_deep_is_read() -> None:
    assert parse_json("[" * 100 + "1" + "]" * 100)
    with pytest.raises(UnreadableJsonError):
        parse_json("[" * 101 + "1" + "]" * 101)


# --- extending --------------------------------------------------------------------------------------------------


def test_a_file_is_laid_over_the_one_that_it_extends(tmp_path: Path) -> None:
    own = {
        "extends": "base.json",
        "name": "own",
        "optimizer": {"args": {"lr": 0.5}},
        "metrics": ["accuracy"],
        "n_gpu": 2,
    }
    assert read_json(write(tmp_path, own=own, base=BASE)) == {
        "name": "own",
        "optimizer": {"type": "SGD", "args": {"lr": 0.5, "momentum": 0.9}},
        "loss": BASE["loss"],
        "metrics": ["accuracy"],
        "n_gpu": 2,
    }


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"type": "CrossEntropyLoss"}, {"type": "CrossEntropyLoss"}),
        ({"type": "Other", "args": {"a": 1}}, {"type": "Other", "args": {"a": 1}}),
        ({"type": "BSExpertLoss", "args": {"eps": 1}}, {**BASE["loss"], "args": {"tau_list": [0, 1, 2], "eps": 1}}),
        ({"args": {"eps": 1}}, {**BASE["loss"], "args": {"tau_list": [0, 1, 2], "eps": 1}}),
        (None, None),
        (3, 3),
    ],
)
def test_a_section_of_another_type_inherits_nothing(tmp_path: Path, section: Any, expected: Any) -> None:
    path = write(tmp_path, own={"extends": "base.json", "loss": section}, base=BASE)
    assert read_json(path)["loss"] == expected


def test_files_extend_one_another_in_chains_each_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", middle={"extends": "../base.json", "n_gpu": 2, "name": "middle"})
    path = write(tmp_path, own={"extends": "inner/middle.json", "name": "own"}, base=BASE)
    assert read_json(path) == {**BASE, "n_gpu": 2, "name": "own"}


def test_files_that_extend_one_another_in_a_circle_are_told_with_the_chain(tmp_path: Path) -> None:
    a = write(tmp_path, a={"extends": "b.json"}, b={"extends": "c.json"}, c={"extends": "a.json"})
    b, c = tmp_path / "b.json", tmp_path / "c.json"
    with pytest.raises(UserError) as caught:
        read_json(a)
    assert str(caught.value) == f"{a}: extends itself: {a} → {b} → {c} → {a}"
    with pytest.raises(UserError, match="extends itself: "):
        read_json(write(tmp_path, alone={"extends": "./alone.json"}))


def test_at_most_a_hundred_files_extend_one_another(tmp_path: Path) -> None:
    chain = {f"f{number}": {"extends": f"f{number + 1}.json"} for number in range(101)}
    first = write(tmp_path, **chain, f101=BASE)
    with pytest.raises(UserError, match=r"f0\.json: more than 100 files extend one another$"):
        read_json(first)
    assert read_json(tmp_path / "f1.json") == BASE


@pytest.mark.parametrize("name", [None, 3, "", ["base.json"], {}])
def test_what_is_no_file_name_can_not_be_extended(tmp_path: Path, name: Any) -> None:
    with pytest.raises(UserError, match=r"own\.json: extends: expected the name of a file; got "):
        read_json(write(tmp_path, own={"extends": name}))


def test_a_missing_or_broken_file_is_named_with_the_one_that_extends_it(tmp_path: Path) -> None:
    path = write(tmp_path, own={"extends": "base.json"})
    with pytest.raises(UserError, match=r"base\.json: no such configuration file \(extended by .*own\.json\)$"):
        read_json(path)
    write(tmp_path, base='{"name" 1}')
    with pytest.raises(UserError, match=r"base\.json: not valid JSON: .* line 1, column 9"):
        read_json(path)


def test_each_key_is_known_by_the_file_that_it_stands_in(tmp_path: Path) -> None:
    own = {"extends": "base.json", "optimizer": {"args": {"lr": 0.5}}, "loss": {"type": "X"}, "metrics": [], "a.b": 1}
    path = write(tmp_path, own=own, base=BASE)
    files = {key: Path(file).name for key, file in read_configuration(path)[1].items()}
    assert files["name"] == files["optimizer.args.momentum"] == files["optimizer.type"]
    assert files["name"] == "base.json"
    for key in ("optimizer", "optimizer.args", "optimizer.args.lr", "loss.type", "metrics", '"a.b"'):
        assert files[key] == "own.json", key
    assert {"loss.args", "loss.tau_min"}.isdisjoint(files)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("optimizer.args.lr", "own.json"),
        ("optimizer.args.momentum", "base.json"),
        ("optimizer.args.nesterov", "own.json"),  # missing: the file that speaks of the section last
        ("loss.args.tau_list[1]", "base.json"),
        ("metrics[1]", "base.json"),
        ("optimizer", "own.json and base.json"),  # what is built from keys of both
        ("trainer", "own.json"),
    ],
)
def test_a_problem_names_the_file_in_which_its_key_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, files: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, own={"extends": "base.json", "optimizer": {"args": {"lr": 0.5}}}, base=BASE)
    config = ConfigParser.from_file(Path("own.json"))
    with pytest.raises(ConfigError) as caught:
        config.validate(lambda _: [Problem(path, "wrong")])
    assert str(caught.value) == f"{path}: wrong (in {files})"


def test_a_runs_folder_holds_the_configuration_without_what_it_extends(tmp_path: Path) -> None:
    config = ConfigParser.from_file(write(tmp_path, own={"extends": "base.json", "name": "own"}, base=BASE))
    (tmp_path / "run").mkdir()
    config.write(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf8")) == {**BASE, "name": "own"}
