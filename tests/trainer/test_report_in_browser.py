"""The pages in a browser: nothing is fetched, fails or overflows; they are accessible, dark on a screen, printed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.chromium import EXECUTABLE, Chromium
from tests.trainer.test_report import evaluated_run, long_tail
from tests.trainer.test_report_of_several import evaluated
from trainer.report import compared, content
from trainer.report.compared_page import write_comparison
from trainer.report.data import RunClasses
from trainer.report.page import write_report

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium")
AXE = "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, by npm."""
    folder = tmp_path_factory.mktemp("axe")
    if (npm := shutil.which("npm")) is None:
        pytest.skip("there is no npm to get axe-core by")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core"]
    try:
        subprocess.run(command, capture_output=True, timeout=120, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm can't get axe-core: {error}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of made-up runs by their number of classes, and one that compares five runs in two groups."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in (content, compared):
            patch.setattr(
                module, "read_classes", lambda _, n: RunClasses([f"class {i}" for i in range(n)], long_tail(n))
            )
        for classes in (10, 100, 1000):
            folder = tmp_path_factory.mktemp(f"run{classes}")
            evaluated_run(folder, classes)
            found[str(classes)] = write_report(folder)
        several = tmp_path_factory.mktemp("several")
        for seed, rate in ((1, 0.1), (2, 0.1), (3, 0.1), (1, 0.2), (2, 0.2)):
            evaluated(several / f"{seed} {rate}", seed, draw=seed + int(100 * rate), optimizer__args__lr=rate)
        found["comparison"] = write_comparison(sorted(several.iterdir()), several / "comparison.html")
    return found


PAGES = ["10", "100", "1000", "comparison"]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_fails_or_is_fetched(browser: Chromium, pages: dict[str, Path], name: str) -> None:
    browser.told.clear()
    for width, media in ((1200, "screen"), (390, "screen"), (700, "print")):
        browser.open(pages[name], width=width, media=media)
        assert browser.value("document.documentElement.scrollWidth - window.innerWidth") <= 0, (width, media)
        assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.told == []


@pytest.mark.parametrize("name", PAGES)
def test_an_accessibility_check_finds_nothing(browser: Chromium, pages: dict[str, Path], axe: str, name: str) -> None:
    for dark in (False, True):
        browser.open(pages[name], width=390, dark=dark)
        browser.value(f"{axe}; 0")
        assert browser.value(AXE) == [], dark


def test_dark_is_for_the_screen_alone(browser: Chromium, pages: dict[str, Path]) -> None:
    shades = {}
    for media in ("screen", "print"):
        browser.open(pages["10"], width=700, dark=True, media=media)
        shades[media] = browser.value("getComputedStyle(document.body).backgroundColor")
    assert shades == {"screen": "rgb(21, 24, 28)", "print": "rgb(255, 255, 255)"}
