import os

import numpy as np
import pytest

from data_loader.lists import list_files
from data_loader.lists.list_files import ImageList, parse_list, positions, read_list, write_list
from utils.errors import UserError


def test_a_list_is_read_line_by_line(tmp_path):
    path = tmp_path / "a.txt"
    lines = ["\ufefftrain/a.jpg 0\r", "", "my photos/Ä b.jpg 12", "tabs.jpg\t3", "a\tb\u2028c\x85d.jpg \t 004 "]
    path.write_bytes("\n".join(lines).encode() + b"\ncaf\xe9.jpg 1")
    images = read_list(path, 13)
    assert [name.decode() for name in images.paths[:-1]] == [
        "train/a.jpg",
        "my photos/Ä b.jpg",
        "tabs.jpg",
        "a\tb\u2028c\x85d.jpg",
    ]
    assert images.paths[-1] == b"caf\xe9.jpg", "file systems have names that are no UTF-8"
    np.testing.assert_array_equal(images.targets, [0, 12, 3, 4, 1])
    assert images.targets.dtype == np.int64


def test_what_is_written_is_read_again(tmp_path):
    images = ImageList(np.array([b"a/b.jpg", "é.jpg".encode(), b"caf\xe9.jpg"]), np.array([4, 0, 2]))
    write_list(tmp_path / "new" / "a.txt", images)
    assert (tmp_path / "new" / "a.txt").read_bytes() == "a/b.jpg 4\né.jpg 0\n".encode() + b"caf\xe9.jpg 2\n"
    again = read_list(tmp_path / "new" / "a.txt")
    np.testing.assert_array_equal(again.paths, images.paths)
    np.testing.assert_array_equal(again.targets, images.targets)


@pytest.mark.parametrize("name", [b"a\nb.jpg", b"a\rb.jpg", b" a.jpg", b"a.jpg ", b""])
def test_a_path_that_would_be_read_as_another_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match=r"a\.txt: no list can hold the path"):
        write_list(tmp_path / "a.txt", ImageList(np.array([name]), np.array([0])))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x" * 10**6, f"expected `path LABEL`; got '{'x' * 80}'"),
        ("a\0\x1bb.jpg 1", r"the path 'a\x00\x1bb.jpg' holds a NUL character, as no file's can"),
        ("a.jpg 1\0", r"label 1\x00 is not in the allowed range: 0 to 4 (num_classes is 5)"),
    ],
    ids=["a long word", "NUL in the path", "NUL in the label"],
)
def test_what_is_wrong_with_a_line_is_one_line_that_can_be_shown(tmp_path, line, told):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\n{line}\n")
    with pytest.raises(UserError) as raised:
        read_list(tmp_path / "a.txt", 5)
    assert str(raised.value) == f"{tmp_path / 'a.txt'}, line 2: {told}"


@pytest.mark.parametrize("label", ["5", "-1", "x", "1.0", "²"])
def test_a_label_out_of_range_is_told_with_file_line_and_range(tmp_path, label):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\nb.jpg {label}\n")
    with pytest.raises(UserError, match=rf"a\.txt, line 2: label {label} is not in the allowed range: 0 to 4"):
        read_list(tmp_path / "a.txt", 5)


@pytest.mark.parametrize("num_classes", [5, None])
@pytest.mark.parametrize("label", ["1" * 5000, "0" * 5000 + "5" * 9, "9" * 19, "10000000"])
def test_a_label_of_many_digits_is_a_wrong_line_whatever_the_number_of_classes(tmp_path, label, num_classes):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\nb.jpg {label}\n")
    with pytest.raises(
        UserError, match=r"a\.txt, line 2: label \d{1,80} is not in the allowed range: 0 to \d+"
    ) as caught:
        read_list(tmp_path / "a.txt", num_classes)
    assert len(str(caught.value)) < 400


def test_zeros_before_a_label_are_none_of_its_digits(tmp_path):
    (tmp_path / "a.txt").write_text(f"a.jpg {'0' * 5000}\nb.jpg {'0' * 5000}3\n")
    assert read_list(tmp_path / "a.txt", 5).targets.tolist() == [0, 3]


@pytest.mark.parametrize(("path", "told"), [("a\0b.jpg", "holds a NUL character"), ("x" * 1_000_000, "more than 4096")])
def test_a_path_that_no_file_can_have_is_a_wrong_line(tmp_path, path, told):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\n{path} 1\n")
    with pytest.raises(UserError, match=rf"a\.txt, line 2: .*{told}") as caught:
        read_list(tmp_path / "a.txt", 5)
    assert len(str(caught.value)) < 400


def test_paths_that_would_take_gigabytes_are_refused_before_they_do(tmp_path, monkeypatch):
    monkeypatch.setattr(list_files, "_MOST_MEMORY", 20 * 100)
    (tmp_path / "a.txt").write_text(f"{'x' * 99}/ 1\n" + "a.jpg 1\n" * 19)
    assert len(read_list(tmp_path / "a.txt")) == 20
    (tmp_path / "a.txt").write_text(f"{'x' * 99}/ 1\n" + "a.jpg 1\n" * 20)
    with pytest.raises(UserError, match=r"a\.txt: 21 paths, of which one has 100 bytes: too many"):
        read_list(tmp_path / "a.txt")


def test_several_wrong_lines_are_one_line_of_error_but_all_are_found(tmp_path):
    (tmp_path / "a.txt").write_text("a.jpg 9\nb.jpg 1\nc.jpg\nd.jpg 7\n")
    with pytest.raises(UserError, match=r"line 1: .*\(and 2 more such lines\)$"):
        read_list(tmp_path / "a.txt", 5)
    images, problems = parse_list(tmp_path / "a.txt", 5)
    assert images.paths.tolist() == [b"b.jpg"]
    assert [line.split(":")[0].split(", ")[1] for line in problems] == ["line 1", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": no such list file.*fetch"),
        (b"", ": names no image"),
        (b"\xef\xbb\xbf\r\n \n", ": names no image"),
        (b"\xff\xd8\xff", r", line 1: expected `path LABEL`; got '\\xff\\xd8\\xff'"),
        ("a.jpg 0\n".encode("utf-16"), ", line 1: the path .* holds a NUL"),
    ],
)
def test_no_list_an_empty_one_and_no_text(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.txt{message}"):
        read_list(tmp_path / "a.txt")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt: can't be read as a list file: it is a pipe"):
        read_list(tmp_path / "a.txt")


def test_positions_of_paths():
    paths = np.array([b"c", b"a", b"longer", b"b"])
    np.testing.assert_array_equal(positions(paths, np.array([b"b", b"x", b"longer", b"c"])), [3, -1, 2, 0])
