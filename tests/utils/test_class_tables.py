"""A prior that somebody wrote down: CSV and JSON, by name and by index, and each mistake in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.errors import UserError
from utils.files.class_tables import by_class, read_prior

NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "class,prior\ncat,0.5\nowl,0.3\ndog,0.2\n"),
        ("b.csv", "dog;0.2\r\ncat;0.5\r\nowl;0.3"),
        ("c.txt", "\ufeffdog\t0.2\n\ncat\t0.5\nowl\t0.3\n"),
        ("d.csv", "0,0.5\n2,0.3\n1,0.2\n"),
        ("e.json", '{"dog": 0.2, "cat": 0.5, "owl": 0.3}'),
        ("f.json", '{"2": 0.3, "1": 0.2, "0": 0.5}'),
        ("g.JSON", "[0.5, 0.2, 0.3]"),
    ],
)
def test_the_same_prior_in_many_forms(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf8")
    np.testing.assert_allclose(by_class(path, read_prior(path), NAMES), [0.5, 0.2, 0.3])


def test_zeros_are_allowed_and_rounded_frequencies_are_scaled_to_one(tmp_path: Path) -> None:
    path = tmp_path / "prior.csv"
    path.write_text("cat,0.667\ndog,0\nowl,0.334\n", encoding="utf8")
    prior = by_class(path, read_prior(path), NAMES)
    assert prior[1] == 0
    np.testing.assert_allclose(prior, np.array([0.667, 0, 0.334]) / 1.001)


def test_names_come_before_indices(tmp_path: Path) -> None:
    """Classes that are called by numbers, counted from 1."""
    path = tmp_path / "prior.csv"
    path.write_text("1,0.7\n2,0.3\n", encoding="utf8")
    np.testing.assert_allclose(by_class(path, read_prior(path), ["2", "1"]), [0.3, 0.7])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.csv", "cat,0.5\ndog,0.5\n", "1 of 3 classes are missing: owl"),
        ("p.csv", "cat,0.5\ndgo,0.2\nowl,0.3\n", "there is no class 'dgo'; did you mean 'dog'?"),
        ("p.csv", "0,0.5\n1,0.2\n3,0.3\n", "there is no class '3'"),
        ("p.csv", "cat,0.5\ncat,0.2\nowl,0.3\n", "the class 'cat' stands twice"),
        ("p.csv", "cat,0.8\ndog,-0.1\nowl,0.3\n", "the prior of 'dog' is -0.1; it must be at least 0"),
        ("p.csv", "cat,50\ndog,20\nowl,30\n", "the priors add up to 100; give frequencies, with the sum 1"),
        ("p.csv", "cat,0.5\ndog,nan\nowl,0.3\n", "line 2: 'nan' is no finite number"),
        ("p.csv", "cat,0.5\ndog,0.2,x\nowl,0.3\n", "line 2: expected a class and a number, two columns; found 3"),
        ("p.csv", "", "is empty; write one prior for each class"),
        ("p.csv", "class,prior\n", "is empty"),
        ("p.csv", "cat,0.5\0\n", "NUL"),
        ("p.json", '{"cat": 0.5, "cat": 0.5}', "the key 'cat' appears twice"),
        ("p.json", '{"cat": true}', "'cat': True is no finite number"),
        ("p.json", '{"cat": Infinity}', "is no finite number"),
        ("p.json", '{"cat": [1]}', "is no finite number"),
        ("p.json", '"cat"', "expected an object of numbers by class, or a list of numbers"),
        ("p.json", '{"cat": 0.5', "line 1: is no JSON"),
        ("p.json", "[" * 2000 + "]" * 2000, "nested"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf8")
    with pytest.raises(UserError) as caught:
        by_class(path, read_prior(path), NAMES)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert told in message
    assert "\n" not in message


def test_what_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00c")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_prior(tmp_path / "p.csv")
    with pytest.raises(UserError, match="it is a folder"):
        read_prior(tmp_path)
