import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_loader.datasets.longtail import longtail_counts
from data_loader.lists import __main__ as lists
from data_loader.lists.list_files import ImageList, read_list, write_list
from data_loader.lists.list_making import long_tailed_list, shifted_lists
from data_loader.lists.list_stats import ListStatistics, statistics_table
from data_loader.lists.manifest import published_files
from tests.data_loader import image_trees
from utils.errors import UserError, run_main


def list_of(counts, name="x"):
    targets = np.repeat(np.arange(len(counts)), counts)
    return ImageList(np.array([f"{name}/{i}.jpg" for i in range(len(targets))], np.bytes_), targets)


def power_law(num_classes, largest, smallest):
    """Training counts of a long tail; only their order matters here."""
    return np.sort(np.random.default_rng(0).integers(smallest, largest, num_classes))


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lists", *map(str, arguments)])
    lists.main()


IMAGENET = ({50: 12_058, 25: 14_437, 10: 19_059, 5: 24_365, 2: 35_574}, power_law(1000, 1280, 5), 50)
INATURALIST = ({2: 12_906, 3: 11_147}, power_law(8142, 1000, 2), 3)
PLACES = ({50: 8_989, 25: 10_727, 10: 14_103, 5: 17_970, 2: 26_155}, power_law(365, 4980, 5), 100)


@pytest.mark.parametrize(("sizes", "train_counts", "per_class"), [IMAGENET, INATURALIST, PLACES])
def test_shifts_of_the_published_shapes_have_the_published_sizes(sizes, train_counts, per_class):
    train, test = list_of(train_counts), list_of([per_class] * len(train_counts))
    made = shifted_lists(train, test, num_classes=len(train_counts), ratios=list(sizes))
    assert {name: len(images) for name, images in made} == {
        f"{direction}{ratio}": size for ratio, size in sizes.items() for direction in ("forward", "backward")
    }


def test_the_sizes_are_those_of_the_manifest():
    published = {Path(file.path).stem: file.images for file in published_files()}
    for prefix, (sizes, _, _) in {"ImageNet_LT": IMAGENET, "iNaturalist18": INATURALIST, "Places_LT": PLACES}.items():
        for ratio, size in sizes.items():
            assert published[f"{prefix}_forward{ratio}"] == size


def test_three_decimals_give_the_published_backward3_of_inaturalist():
    _, train_counts, per_class = INATURALIST
    train, test = list_of(train_counts), list_of([per_class] * len(train_counts))
    made = dict(shifted_lists(train, test, num_classes=len(train_counts), ratios=[3], decimals=3))
    assert len(made["backward3"]) == 11_137


def test_make_shifts_writes_exact_counts_by_training_rank(tmp_path, monkeypatch, capsys):
    write_list(tmp_path / "A_train.txt", list_of([3, 40, 7, 7]))
    write_list(tmp_path / "A_test.txt", list_of([10] * 4, "test"))
    options = ("--train", tmp_path / "A_train.txt", "--test", tmp_path / "A_test.txt", "--out", tmp_path / "out")
    run(monkeypatch, "make-shifts", *options, "--ratios", 10)
    assert "A_forward10.txt: 17 images" in capsys.readouterr().out
    # ranks: class 1, then 2 and 3 (a tie: by label), then 0; ⌊10 · 0.1^(k/3)⌋ = 10, 4, 2, 1
    forward, backward = (read_list(tmp_path / "out" / f"A_{name}10.txt") for name in ("forward", "backward"))
    assert np.bincount(forward.targets).tolist() == [1, 10, 4, 2]
    assert np.bincount(backward.targets).tolist() == [10, 1, 2, 4]
    assert set(forward.paths) <= set(read_list(tmp_path / "A_test.txt").paths)
    with pytest.raises(UserError, match="--force"):
        run(monkeypatch, "make-shifts", *options, "--ratios", 10)
    before = (tmp_path / "out" / "A_forward10.txt").read_bytes()
    run(monkeypatch, "make-shifts", *options, "--ratios", 10, "--force")
    assert (tmp_path / "out" / "A_forward10.txt").read_bytes() == before


def test_pareto_is_a_power_law_between_its_ends():
    counts = longtail_counts(1000, 100, imb_type="pareto", imb_factor=0.01)
    assert (counts[0], counts[9], counts[99]) == (1000, 100, 10)  # 1000 / (i + 1), as ln 100 / ln 100 = 1
    assert counts[1] == 500


@pytest.mark.parametrize("ratio", [7, 49, 100])
@pytest.mark.parametrize("imb_type", ["exp", "pareto", "step"])
def test_make_lt_has_the_ratio_that_was_asked_for(ratio, imb_type):
    kept = long_tailed_list(list_of([ratio] * 12), num_classes=12, imb_type=imb_type, ratio=ratio)
    counts = np.bincount(kept.targets)
    assert (counts[0], counts[-1]) == (ratio, 1)
    assert (np.diff(counts) <= 0).all()


def test_make_lt_tells_where_the_ratio_is_another(tmp_path, monkeypatch, capsys):
    write_list(tmp_path / "balanced.txt", list_of([19] * 4))
    options = ("make-lt", "--source", tmp_path / "balanced.txt", "--force", "--out", tmp_path / "lt.txt")
    run(monkeypatch, *options, "--ratio", 10)  # ⌊19 / 10⌋ = 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("the ratio is 19, not the 10 of --ratio: counts are rounded down to whole images")
    run(monkeypatch, *options, "--ratio", 6)  # ⌊19 / 6⌋ = 3, and 19 / 3 is 6 % more than 6
    assert "of --ratio" not in capsys.readouterr().out


def test_make_lt_from_a_folder(tmp_path, monkeypatch, capsys):
    for name, digit in (("b", 1), ("a", 0)):
        for i in range(8):
            image_trees.save_picture(tmp_path / "photos" / name / f"{i}.jpg", image_trees.digit_picture(digit, i))
    run(monkeypatch, "make-lt", "--source", tmp_path / "photos", "--ratio", 4, "--out", tmp_path / "lt.txt")
    made = read_list(tmp_path / "lt.txt")
    assert np.bincount(made.targets).tolist() == [8, 2]
    assert all((tmp_path / "photos" / path.decode()).is_file() for path in made.paths)
    assert made.paths[0].startswith(b"a/")
    assert "4.0" in capsys.readouterr().out


def test_make_lt_can_put_the_head_anywhere_and_says_what_is_impossible():
    balanced = list_of([10] * 5)
    options = {"num_classes": 5, "imb_type": "exp", "ratio": 10}
    shuffled = np.bincount(long_tailed_list(balanced, **options, seed=1).targets)
    assert sorted(shuffled) == sorted(np.bincount(long_tailed_list(balanced, **options).targets))
    assert shuffled.tolist() != sorted(shuffled, reverse=True)
    with pytest.raises(UserError, match="class 0: has 10 images, 20 are wanted"):
        long_tailed_list(balanced, **options, largest=20)
    with pytest.raises(UserError, match="leaves classes without any"):
        long_tailed_list(balanced, **{**options, "ratio": 30})


def test_stats_counts_groups_at_their_borders(tmp_path, monkeypatch, capsys):
    write_list(tmp_path / "a.txt", list_of([101, 100, 20, 19, 4]))
    run(monkeypatch, "stats", tmp_path / "a.txt", "--plot", tmp_path / "a.png")
    row = capsys.readouterr().out.splitlines()[2].split()
    assert row[1:] == ["244", "5", "0", "101", "20", "4", "25.2", "1", "2", "2"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_class_without_images_leaves_no_ratio():
    assert ListStatistics(np.array([4, 0])).imbalance_ratio is None
    assert " – " in statistics_table({"a": ListStatistics(np.array([4, 0]))})


def test_verify_and_fetch_by_the_command_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "verify", "Places_LT_v2", "--to", tmp_path)
    assert ended.value.code == 1
    assert "0 of 14 are as published" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds no data_txt folder of the published data sets"):
        run(monkeypatch, "fetch", "--to", tmp_path, "--clone", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "ImageNetLT"], "did you mean 'ImageNet_LT'"),
        (["stats", "nowhere.txt"], "no such list file"),
        (["make-lt", "--source", "a", "--out", "b", "--ratio", "0.5"], "argument --ratio"),
        (["fetch", "ImageNet_LT", "--to", "{tmp}", "--base-url", "http://127.0.0.1:9"], "can't be fetched"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: run(monkeypatch, *(part.format(tmp=tmp_path) for part in arguments)))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error


def test_the_module_is_a_command():
    command = [sys.executable, "-m", "data_loader.lists", "stats", "nowhere.txt"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: nowhere.txt: no such list file")


@pytest.mark.parametrize("command", ["fetch", "verify", "make-shifts", "make-lt", "stats"])
def test_help_teaches_by_example(monkeypatch, capsys, command):
    with pytest.raises(SystemExit):
        run(monkeypatch, command, "--help")
    assert f"python -m data_loader.lists {command} " in capsys.readouterr().out


def test_a_class_with_too_few_images_is_told_with_its_number():
    with pytest.raises(UserError, match=r"^class 1: has 1 image, 2 are wanted; give a smaller --max$"):
        long_tailed_list(list_of([4, 1]), num_classes=2, imb_type="exp", ratio=2, largest=4)
