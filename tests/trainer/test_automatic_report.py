"""The report that comes by itself: after training and each evaluation, unless it is switched off, and at no risk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts.command_line import Shell, the_run
from tests.trainer.small_runs import small_config
from trainer.report import page
from trainer.report.automatic import report_by_itself


def test_training_and_evaluating_end_with_the_place_of_the_page(tmp_path: Path, shell: Shell) -> None:
    config = small_config(trainer__epochs=1, trainer__save_dir=str(tmp_path), data_loader__args__max_per_class=3)
    config["trainer"]["verbosity"] = 2
    del config["trainer"]["report"]
    (tmp_path / "small.json").write_text(json.dumps(config))
    trained = shell("train.py", "-c", tmp_path / "small.json")
    run = the_run(tmp_path)
    told = f"Report: {run / 'report.html'}"
    assert (trained.code, trained.err, trained.out.splitlines()[-1]) == (0, "", told)
    assert "events.out" not in trained.out  # what TensorBoard logs of its reading
    assert "Not tested yet" in (run / "report.html").read_text()
    checkpoint = run / "checkpoint-epoch1.pth"
    assert shell("test.py", "-r", checkpoint, "--no-report").out.splitlines()[-1].startswith("Results written to")
    assert "Not tested yet" in (run / "report.html").read_text()
    tested = shell("test_all_cifar.py", "-r", checkpoint, "--distributions", "uniform", "backward10")
    assert (tested.code, tested.err, tested.out.splitlines()[-1]) == (0, "", told)
    assert "backward10" in (run / "report.html").read_text()


def test_a_page_that_cannot_be_written_is_one_warning_and_no_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Path, **options: object) -> Path:
        raise ValueError("no such colour\nsecond line")

    report_by_itself(tmp_path / "nowhere")
    monkeypatch.setattr(page, "write_report", fail)
    report_by_itself(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"warning: the report could not be written: {tmp_path}/nowhere: no such folder",
        "warning: the report could not be written: no such colour",
    ]
    assert capsys.readouterr().out == ""
