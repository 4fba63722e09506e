import os

import numpy as np
import pytest

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


WRONG = {
    "a.jpg": "expected `path LABEL`; got 'a.jpg'",
    "x" * 10**6: f"expected `path LABEL`; got '{'x' * 80}…'",
    "a.jpg 9" + "0" * 4999: f"label 9{'0' * 19}… is not in the allowed range: 0 to 4 (num_classes is 5)",
    f"{'x' * 10**6} 1": "its path has 1,000,000 bytes; at most 4,096 are allowed",
    "a\0b.jpg 1": "holds a NUL; lists are text in UTF-8",
    "a.jpg 1\0": "holds a NUL; lists are text in UTF-8",
}


@pytest.mark.parametrize(
    "line", WRONG, ids=["no label", "a long word", "digits", "a long path", "NUL", "NUL at the end"]
)
def test_what_is_wrong_with_a_line_is_one_line_of_its_own(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\n{line}\n")
    with pytest.raises(UserError) as raised:
        read_list(tmp_path / "a.txt", 5)
    assert str(raised.value) == f"{tmp_path / 'a.txt'}, line 2: {WRONG[line]}"


def test_labels_are_bounded_where_nobody_says_how_many_classes_there_are(tmp_path):
    """Whoever counts the images of each class would take memory for all of them."""
    (tmp_path / "a.txt").write_text("a.jpg 999999\nb.jpg 1000000\n")
    with pytest.raises(UserError, match=r"line 2: label 1000000 is not in the allowed range: 0 to 999999$"):
        read_list(tmp_path / "a.txt")


@pytest.mark.parametrize("label", ["5", "-1", "x", "1.0", "²"])
def test_a_label_out_of_range_is_told_with_file_line_and_range(tmp_path, label):
    (tmp_path / "a.txt").write_text(f"a.jpg 4\nb.jpg {label}\n")
    with pytest.raises(UserError, match=rf"a\.txt, line 2: label {label} is not in the allowed range: 0 to 4"):
        read_list(tmp_path / "a.txt", 5)


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
        (b"\xff\xd8\xff", r", line 1: expected `path LABEL`; got '\\\\xff\\\\xd8\\\\xff'"),
        ("a.jpg 0\n".encode("utf-16"), ", line 1: holds a NUL"),
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
