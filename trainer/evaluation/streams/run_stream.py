"""A trained run's ensemble on a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.opened_run import TestRun
from trainer.evaluation.priors import TestPrior
from trainer.evaluation.results import result_row
from trainer.evaluation.streams.flags import StreamOptions
from trainer.evaluation.streams.schedule import StreamSchedule, schedule
from trainer.evaluation.streams.scores import evaluate_stream


def stream_of_run(
    run: TestRun, distributions: Sequence[Distribution], prior: TestPrior, options: StreamOptions
) -> tuple[list[dict[str, Any]], StreamSchedule]:
    """Rows of results, those of the raw weights first, and the stream that they are of."""
    predictions, loader = run.predictions, run.loader
    arriving = schedule(
        distributions,
        predictions.targets,
        len(loader.class_names),
        batch_size=options.batch_size,
        images=options.images,
        change=options.change,
    )
    rows = [
        result_row(scores, checkpoint=run.checkpoint, protocol="stream", weights=weights, data=run.data)
        for weights, logits in predictions.logits.items()
        for scores in evaluate_stream(
            logits,
            predictions.targets,
            loader.cls_num_list,
            arriving=arriving,
            predictor=predictors(["mean"], logits.shape[1])[0],
            prior=prior,
            follower=options.follower,
            homes=run.homes,
            class_names=loader.class_names,
            held_out=run.held_out_of(weights),
            calibration=run.calibration.of(weights),
        )
    ]
    return rows, arriving
