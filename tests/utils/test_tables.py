"""CSV as pandas, R and people write it, and Parquet where pandas reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError
from utils.files.numpy_files import MOST_BYTES
from utils.files.tables import Table, read_table

FRAME = pd.DataFrame([[0.1, -2.5], [1e-30, 3.0]], columns=["cat", "dog"])


def read(tmp_path: Path, text: str, **options: Any) -> Table:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    return read_table(path, "file of logits", **options)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    told = str(refused.value)
    assert "\n" not in told
    return told.removeprefix(f"{tmp_path / 'a.csv'}: ")


@pytest.mark.parametrize("options", [{}, {"index": False}, {"sep": ";"}, {"sep": "\t"}, {"encoding": "utf-8-sig"}])
def test_names_and_numbers_to_the_last_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    FRAME.to_csv(tmp_path / "a.csv", **options)
    table = read_table(tmp_path / "a.csv", "file of logits")
    assert table.names == ["cat", "dog"]
    assert np.array_equal(table.cells, FRAME)


def test_without_a_header_every_line_counts(tmp_path: Path) -> None:
    table = read(tmp_path, "0.5,0.5\n1,0\n")
    assert table.names is None
    assert table.cells.tolist() == [[0.5, 0.5], [1, 0]]


def test_columns_that_are_counted_are_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, "0,1,2\n.7,.2,.1\n").names == ["0", "1", "2"]
    assert read(tmp_path, "1,2\n0.7,3e-1\n").names == ["1", "2"]
    assert read(tmp_path, ",0,1\n0,7,8\n").cells.tolist() == [[7, 8]]
    assert read(tmp_path, "0,1\n1,0\n").cells.tolist() == [[0, 1], [1, 0]]  # certain probabilities
    assert len(read(tmp_path, "1\nnan\n").cells) == 2
    assert read(tmp_path, "0\n1\n").cells.tolist() == [[0], [1]]  # labels


def test_known_words_are_no_header(tmp_path: Path) -> None:
    assert read(tmp_path, "dog\ncat\n", words=True, known=["cat", "dog"]).cells.tolist() == [["dog"], ["cat"]]
    headed = read(tmp_path, "label\ndog\n", words=True, known=["cat", "dog"])
    assert (headed.names, headed.cells.tolist()) == (["label"], [["dog"]])
    assert read(tmp_path, "a,b\nNA,null\n", words=True).cells.tolist() == [["NA", "null"]]  # words, too


def test_a_name_may_hold_commas_and_line_ends(tmp_path: Path) -> None:
    frame = FRAME.rename(columns={"cat": "a, b", "dog": 'two\nlines, and "more"'})
    frame.to_csv(tmp_path / "a.csv", index=False)
    table = read_table(tmp_path / "a.csv", "file of logits")
    assert table.names == list(frame.columns)
    assert np.array_equal(table.cells, frame)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("a,b\n", "is empty"),
        ("0.5,2\n3,4,5\n", "number of columns changed from 2 to 3 at row 2"),
        ("a,b\n1,2,3\n", "the header has 2 columns and the rows have 3"),
        ("a,a\n1,2\n", "the column 'a' stands twice"),
        ("a,b\n1,\n", "could not convert string '' to float64 at row 0, column 2"),
        ("a,b\n1,2\n3,NA\n", "could not convert string 'NA' to float64 at row 1, column 2"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_rows_of_words_have_the_same_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different numbers of columns"):
        read(tmp_path, "x,y\na,b\nc\n", words=True)


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(UserError, match="can't be read as a file of logits"):
        read_table(tmp_path / "a.csv", "file of logits")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str, name: str) -> None:
    put_odd(tmp_path / name, kind)
    with pytest.raises(UserError, match=ODD_KINDS[kind]):
        read_table(tmp_path / name, "file of logits")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(UserError, match="too many"):
        read_table(tmp_path / "a.csv", "file of logits")


def test_parquet_is_what_pandas_reads_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.touch()
    monkeypatch.setattr(pd, "read_parquet", lambda _: FRAME)
    table = read_table(path, "file of logits")
    assert table.names == ["cat", "dog"]
    assert np.array_equal(table.cells, FRAME)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> pd.DataFrame:
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(UserError, match="pip install pyarrow"):
        read_table(tmp_path / "a.parquet", "file of logits")
