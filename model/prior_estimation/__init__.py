"""Which class prior has a test set without labels? Estimators, as functions of arrays; no configuration, no network.

    evidence = PriorEvidence(logits, home_prior)  # of the test images [N, C]; what the predictor is right under [C]
    estimate = em(evidence)                       # estimate.prior: [C]
    interval = bootstrap(em, evidence)            # interval.low, interval.high: [C]
    corrected = logits + np.log(estimate.prior + 1e-9) - np.log(home_prior)

`PriorEvidence` holds what is known: logits or log-posteriors, the prior that the predictor is right under, and, where
an estimator needs them, the training prior and labelled held-out images. Every estimator is a function of it, with
options of its own, that returns a `PriorEstimate`. All work on float64.

A new estimator is a file here that lists it in `__all__`. Streams of batches are in `model.prior_estimation.streams`.

| estimator | needs | trusts |
|---|---|---|
| `em` | logits | the posteriors, class by class |
| `map_em` | logits | the same, less with few images |
| `tilt` | training prior | that the tail is the training tail, to a power |
| `centred_map_em` | training prior | the tilt, and the posteriors a little |
| `banded_em` | training prior | the tilt, and the posteriors where these say much more |
| `auto` | what there is | the same, as far as a test tells them from the predictor's own prior |
| `bbse`, `rlls` | held-out images | that these show the same mistakes as the test images |
"""

from __future__ import annotations

from collections.abc import Callable

from model.prior_estimation.auto import auto
from model.prior_estimation.banded import banded_em
from model.prior_estimation.bbse import bbse
from model.prior_estimation.bootstrap import PriorInterval, bootstrap
from model.prior_estimation.centred import centred_map_em
from model.prior_estimation.em import em
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import HeldOut, PriorEvidence
from model.prior_estimation.map_em import map_em
from model.prior_estimation.rlls import rlls
from model.prior_estimation.tilt import tilt
from utils.registry import collect

__all__ = [
    "ESTIMATORS",
    "HeldOut",
    "PriorEstimate",
    "PriorEvidence",
    "PriorInterval",
    "auto",
    "banded_em",
    "bbse",
    "bootstrap",
    "centred_map_em",
    "em",
    "map_em",
    "rlls",
    "tilt",
]

ESTIMATORS: dict[str, Callable[..., PriorEstimate]] = collect(__name__, __path__)
