"""Test distributions that stand in files: priors in tables, images in lists, and each mistake in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_loader.data_loaders.image_lists import ImageListDataLoader
from tests.data_loader import image_trees
from tests.scripts.command_line import Shell
from trainer.evaluation.distributions import Distribution, TestSplit, checked_name, select
from trainer.evaluation.opened_run import TestRun
from trainer.evaluation.predictions import Predictions
from utils.errors import UserError

NAMES = ["cat", "dog", "eel"]
TARGETS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [40, 20, 10]))
SPLIT = TestSplit(TARGETS, [100, 50, 5], class_names=NAMES)


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf8")
    return str(folder / name)


def counts_of(distribution: Distribution) -> list[int]:
    assert len(np.unique(distribution.indices)) == len(distribution.indices), "no image twice"
    return np.bincount(TARGETS[distribution.indices], minlength=3).tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,cat,dog,eel\nwinter,0.5,0.25,0.25\nsea,0,0,7\n"),
        ("b.csv", "\ufeff;eel;dog;cat\r\nwinter;25;25;50\r\n\r\nsea;1;0;0\r\n"),
        ("c.csv", "prior\t0\t2\t1\nwinter\t2\t1\t1\nsea\t0\t1e-3\t0\n"),
        ("d.json", '{"winter": {"eel": 1, "cat": 2, "dog": 1}, "sea": {"0": 0, "1": 0, "2": 3}}'),
        ("e.JSON", '{"winter": [2, 1, 1], "sea": [0, 0, 1]}'),
    ],
)
def test_the_same_priors_in_many_forms_have_as_many_images_as_the_classes_allow(
    tmp_path: Path, name: str, text: str
) -> None:
    """½ ¼ ¼ of 40, 20 and 10 images: eels are scarce, with 10 there are 20 cats and 10 dogs; ⌊M/4⌋ = 10 → M < 44."""
    winter, sea = select([written(tmp_path, name, text)], SPLIT)
    assert (winter.name, sea.name) == ("winter", "sea")
    assert winter.selection == f"by rule, {name}"
    assert counts_of(winter) == [21, 10, 10]  # ⌊43.99 / 2⌋ cats
    assert counts_of(sea) == [0, 0, 10]


def test_files_and_names_are_mixed_in_their_order(tmp_path: Path) -> None:
    table = written(tmp_path, "shifts.csv", "name,cat,dog,eel\nmostly cats,90,9,1\n")
    images = written(tmp_path, "first.txt", "".join(f"{number} {TARGETS[number]}\n" for number in (5, 0, 69)))
    selected = select(["uniform", table, "as_split", images, "forward2"], SPLIT)
    names = [distribution.name for distribution in selected]
    assert names == ["uniform", "mostly cats", "as split", "first", "forward2"]
    assert selected[3].indices.tolist() == [5, 0, 69]
    assert selected[3].selection == "list file"


def test_priors_drawn_have_the_proportions_of_the_table(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    priors = random.dirichlet([1, 1, 1], size=8)
    lines = [f"draw {number}," + ",".join(map(repr, row.tolist())) for number, row in enumerate(priors)]
    table = written(tmp_path, "p.csv", "name,cat,dog,eel\n" + "\n".join(lines))
    for distribution, prior in zip(select([table], SPLIT), priors, strict=True):
        counts = np.array(counts_of(distribution))
        assert (counts <= [40, 20, 10]).all()
        assert (np.abs(counts - prior * counts.sum()) < 2).all()  # rounding down moves no class by more
        assert (counts == [40, 20, 10]).any(), "one class is used up"


def test_relabelling_the_classes_relabels_what_is_drawn(tmp_path: Path) -> None:
    table = written(tmp_path, "p.csv", "name,cat,dog,eel\na,0.2,0.5,0.3\n")
    order = np.array([2, 0, 1])
    renamed = TestSplit(order[TARGETS], None, num_classes=3, class_names=["dog", "eel", "cat"])
    (ours,), (theirs,) = select([table], SPLIT), select([table], renamed)
    assert np.bincount(order[TARGETS][theirs.indices])[order].tolist() == counts_of(ours)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.csv", "name,cat,dog\na,1,1\n", "1 of 3 classes are missing: eel"),
        ("p.csv", "name,cat,dgo,eel\na,1,1,1\n", "there is no class 'dgo'; did you mean 'dog'?"),
        ("p.csv", "name,cat,cat,eel\na,1,1,1\n", "line 1: the class 'cat' stands twice"),
        ("p.csv", "name,cat,dog,eel\na,1,-1,1\n", "'a' has -1 for 'dog'; it must be at least 0"),
        ("p.csv", "name,cat,dog,eel\na,1,inf,1\n", "line 2: dog: 'inf' is no finite number"),
        ("p.csv", "name,cat,dog,eel\na,1,,1\n", "line 2: dog: '' is no finite number"),
        ("p.csv", "name,cat,dog,eel\na,1,1\n", "line 2: expected a name and a number for each of 3 classes"),
        ("p.csv", "name,cat,dog,eel\na,0,0,0\n", "'a' has no class above 0"),
        ("p.csv", "name,cat,dog,eel\na,1,1,1\na,2,1,1\n", "line 3: the distribution 'a' stands twice"),
        ("p.csv", "name,cat,dog,eel\n,1,1,1\n", "'' is no name of a distribution"),
        ("p.csv", "name,cat,dog,eel\nforward50,1,1,1\n", "'forward50' is the name of a rule: choose another"),
        ("p.csv", "name,cat,dog,eel\n", "is empty"),
        ("p.csv", "name\na\n", "expected a header"),
        ("p.csv", "", "is empty"),
        ("p.json", '{"a": {"cat": 1, "dog": 1, "eel": true}}', "'a': 'eel': True is no finite number"),
        ("p.json", '{"a": 1}', "'a': expected an object of numbers by class"),
        ("p.json", "[1]", "expected an object of distributions by name"),
        ("p.json", '{"a": [1, 1, 1], "a": [1, 1, 1]}', "the key 'a' appears twice"),
        ("p.txt", "70 0\n", "'70', listed with the label 0, is not among the test images"),
        ("p.txt", "cat.jpg 0\n", "'cat.jpg', listed with the label 0, is not among the test images"),
        ("p.txt", f"0 {(TARGETS[0] + 1) % 3}\n", f"'0', listed with the label {(TARGETS[0] + 1) % 3}, is of class"),
        ("p.txt", f"0 {TARGETS[0]}\n" * 2, "'0' stands twice"),
        ("p.txt", "0\n", "line 1: expected `path LABEL`"),
        ("p.txt", "0 3\n", "label 3 is not in the allowed range"),
        ("uniform.txt", f"0 {TARGETS[0]}\n", "'uniform' is the name of a rule: choose another"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(UserError) as caught:
        select([path], SPLIT)
    assert str(caught.value).startswith(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_a_prior_needs_and_the_split_lacks_is_named(tmp_path: Path) -> None:
    table = written(tmp_path, "p.csv", "name,cat,dog,eel\nno eels,1,1,0\nsome,1,1,1\n")
    without = TestSplit(TARGETS[TARGETS < 2], [100, 50, 5], class_names=NAMES)
    with pytest.raises(UserError, match=r"'some' needs images of 'eel', and there is no test image of this class"):
        select([table], without)


def test_names_of_two_files_must_differ(tmp_path: Path) -> None:
    tables = [written(tmp_path, name, "name,cat,dog,eel\nsea,0,0,1\n") for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError, match=r"b\.csv: 'sea' stands in another file, too"):
        select(tables, SPLIT)


def test_a_name_is_a_files_by_its_ending_or_since_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shifts.csv", "shifts.json", "images.TXT"):
        with pytest.raises(UserError, match=f"{name}: no such file of test distributions"):
            checked_name(name)
    Path("folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv: .*folder"):
        checked_name("folder.csv")
    written(tmp_path, "shifts", "name,cat,dog,eel\nsea,0,0,1\n")
    written(tmp_path, "uniform", "no table")
    assert [checked_name(name) for name in ("shifts", "uniform")] == ["shifts", "uniform"]
    assert [distribution.name for distribution in select(["shifts", "uniform"], SPLIT)] == ["sea", "uniform"]


def test_a_list_names_images_as_the_data_sets_own_lists_do_and_unreadable_ones_are_left_out(tmp_path: Path) -> None:
    tree = image_trees.write_imagenet_lt(tmp_path, train_counts=(6, 4, 1), test_per_class=3)
    del tree.args["val_txt"]
    loader = ImageListDataLoader(**tree.args, batch_size=4, image_size=28, num_workers=0).of_split("test")
    lines = Path(tree.args["test_txt"]).read_text().splitlines()
    listed = written(tmp_path, "mine.txt", "\n".join(lines[place] for place in (8, 2, 4)))
    logits = {"raw": np.zeros((8, 1, 3), np.float32)}
    predictions = Predictions(logits, np.delete(loader.targets, 2), skipped=np.array([2]))
    run = TestRun(tmp_path / "checkpoint.pth", loader, predictions, "a run")
    (distribution,) = select([listed], run.split)
    assert (distribution.name, distribution.indices.tolist()) == ("mine", [7, 3])  # places among the readable


def test_tools_score_takes_both_kinds_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.eye(3)[TARGETS] * 0.7 + 0.1)
    np.save("y.npy", TARGETS)
    written(tmp_path, "shifts.csv", "name,0,1,2\nsea,0,0,1\nland,1,1,0\n")
    written(tmp_path, "one.txt", f"3 {TARGETS[3]}\n")
    command = ["tools.score", "p.npy", "--labels", "y.npy", "--kind", "probabilities", "--home", "uniform"]
    ended = shell(*command, "--distributions", "shifts.csv", "uniform", "one.txt")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split()[:3] for line in ended.out.splitlines()[-4:]]
    assert rows == [
        [name, images, "100.00"] for name, images in (("sea", "10"), ("land", "40"), ("uniform", "30"), ("one", "1"))
    ]
    wrong = shell(*command, "--distributions", "nowhere.csv")
    assert (wrong.code, wrong.out) == (2, "")
    assert "nowhere.csv: no such file of test distributions" in wrong.err
