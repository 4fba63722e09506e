"""Post-hoc calibration: logits scaled and shifted so that confidence matches accuracy on held-out images. Pure NumPy.

Fitted by the likelihood of softmax(s ⊙ z + b + log π_held-out − log π_home) of the held-out labels, where z are the
log-posteriors (so that a constant added to an image's logits does not matter). The last two terms are there because
held-out images may be distributed unlike the predictor's home prior: without them, b would learn the difference.

Shapes: `M` held-out images, `C` classes. Sources: temperature and vector scaling, Guo et al., ICML 2017; BCTS,
Alexandari, Kundaje, Shrikumar, ICML 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import log_normaliser
from model.prior_estimation.checks import Floats, checked_labels, checked_logits, checked_prior
from model.priors import adjust_logits
from model.shift_sharpening import sharpness, shift_aware_fit

LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 0.01, 100.0

_SHRINKAGE = 10.0
_TEMPERATURE_SHRINKAGE = 3.0  # a standard deviation of log T of 0.58: networks' temperatures lie within 1/3 … 3
_LEAST_PRIOR = 1e-9


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A calibration that was fitted: it leaves the home prior of the predictor as it is.

    Args:
        scale: [C], above 0; 1/T for every class where there is one temperature.
        bias: [C].
        sharpening: κ; after a correction to another class prior, logits are multiplied by exp(κ·KL(π_test‖π_home)).
    """

    scale: Floats
    bias: Floats
    sharpening: float = 0.0

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.floating]:
        """Calibrated logits for logits or log-posteriors [..., C], in their floating type, float32 at least."""
        if logits.shape[-1] != self.scale.size:
            raise ValueError(f"logits have {logits.shape[-1]} classes and the calibration {self.scale.size}")
        dtype = np.promote_types(logits.dtype, np.float32)
        log_posteriors = logits.astype(dtype, copy=False) - log_normaliser(logits)[..., np.newaxis]
        return log_posteriors * self.scale.astype(dtype) + self.bias.astype(dtype)

    def corrected(
        self, calibrated: NDArray[np.floating], target_prior: ArrayLike, home_prior: ArrayLike
    ) -> NDArray[np.floating]:
        """Logits [..., C] that this calibrated, under another class prior [C] than that at home [C]."""
        logits = adjust_logits(calibrated, target_prior, home_prior=home_prior)
        return logits * logits.dtype.type(sharpness(self.sharpening, target_prior, home_prior))

    @property
    def temperature(self) -> float:
        """T, the inverse of the scale's geometric mean over the classes."""
        return float(np.exp(-np.log(self.scale).mean()))


def temperature_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    home_prior: ArrayLike,
    *,
    temperature_shrinkage: float = _TEMPERATURE_SHRINKAGE,
) -> Calibrator:
    """softmax(z/T): one number, which a few held-out images are enough for. No prediction changes.

    Args:
        logits: [M, C], logits or log-posteriors of images that the network was not trained on, M ≥ 1, finite.
        labels: [M].
        home_prior: [C], frequencies or counts that the predictor's posteriors are right under.
        temperature_shrinkage: ≥ 0; temperature_shrinkage/2 · (log T)² is added to the sum of −log p: without it, where
            a few dozen images are all predicted rightly, confidence would be absolute. 0 is plain temperature scaling.

    Raises:
        ValueError: other shapes, numbers that are not finite, labels that are no classes, a negative shrinkage.
    """
    likelihood = _HeldOutLikelihood.of(logits, labels, home_prior)
    return _fit(likelihood, biased=False, by_class=False, shrinkages=(temperature_shrinkage, 0))


def bias_corrected_temperature_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    home_prior: ArrayLike,
    *,
    shrinkage: float = _SHRINKAGE,
    temperature_shrinkage: float = _TEMPERATURE_SHRINKAGE,
) -> Calibrator:
    """BCTS, softmax(z/T + b).

    Args:
        logits: as for `temperature_scaling`.
        labels: as there.
        home_prior: as there.
        shrinkage: ≥ 0; shrinkage/2 · ‖b‖² is added to the sum of −log p: the fewer held-out images a class has, the
            less it is shifted, and without any not at all. With 0 for both it is plain BCTS.
        temperature_shrinkage: as there.

    Raises:
        ValueError: as there.
    """
    likelihood = _HeldOutLikelihood.of(logits, labels, home_prior)
    return _fit(likelihood, biased=True, by_class=False, shrinkages=(temperature_shrinkage, shrinkage))


def vector_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    home_prior: ArrayLike,
    *,
    shrinkage: float = _SHRINKAGE,
    temperature_shrinkage: float = _TEMPERATURE_SHRINKAGE,
) -> Calibrator:
    """VS, softmax(a ⊙ z + b) with a > 0.

    Arguments as for `bias_corrected_temperature_scaling`; the logarithms of a are shrunk to their mean in the same way.
    """
    likelihood = _HeldOutLikelihood.of(logits, labels, home_prior)
    return _fit(likelihood, biased=True, by_class=True, shrinkages=(temperature_shrinkage, shrinkage))


def shift_aware_temperature_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    home_prior: ArrayLike,
    *,
    temperature_shrinkage: float = _TEMPERATURE_SHRINKAGE,
) -> Calibrator:
    """A temperature, and how much surer the predictor is the further the test prior lies from home; see `Calibrator`.

    For predictors at home on a long tail. What they say of rare classes is less sure than right, and more so the more
    of the test images are of rare classes: no calibration before the correction mends that. Fitted by the Brier score.

    Arguments as for `temperature_scaling`; κ is shrunk in the same way, by `temperature_shrinkage`/2 · κ².
    """
    likelihood = _HeldOutLikelihood.of(logits, labels, home_prior)
    home = np.maximum(checked_prior("home_prior", home_prior, likelihood.log_posteriors.shape[1]), _LEAST_PRIOR)
    log_scale, sharpening = shift_aware_fit(
        likelihood.log_posteriors, likelihood.labels, home, shrinkage=temperature_shrinkage
    )
    classes = likelihood.log_posteriors.shape[1]
    return Calibrator(np.full(classes, np.exp(log_scale)), np.zeros(classes), sharpening)


CALIBRATIONS: dict[str, Callable[..., Calibrator]] = {
    "ts": temperature_scaling,
    "bcts": bias_corrected_temperature_scaling,
    "vs": vector_scaling,
    "sts": shift_aware_temperature_scaling,
}
"""Name → function of (logits [M, C], labels [M], home prior [C])."""

BY_LIKELIHOOD = ("ts", "bcts", "vs")
"""Those that differ in their −log p under the home prior, in the order of their numbers of parameters."""


@dataclass(frozen=True, eq=False)
class _HeldOutLikelihood:
    """−log p of held-out labels as a function of scale and bias."""

    log_posteriors: Floats  # [M, C]
    labels: NDArray[np.integer]  # [M]
    log_shift: Floats  # [C], log π_held-out − log π_home; −∞ for classes without held-out images

    @classmethod
    def of(cls, logits: ArrayLike, labels: ArrayLike, home_prior: ArrayLike) -> _HeldOutLikelihood:
        values = checked_logits("held-out logits", logits).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("held-out logits must be finite; probabilities of 0 need a lower limit, 1e-12 say")
        size, classes = values.shape
        classes_of_images = checked_labels("held-out labels", labels, size, classes)
        home = checked_prior("home_prior", home_prior, classes)
        counts = np.bincount(classes_of_images, minlength=classes)
        ratio = counts / size / np.maximum(home, _LEAST_PRIOR)
        log_shift = np.log(ratio, out=np.full(classes, -np.inf), where=counts > 0)
        return cls(values - log_normaliser(values)[:, np.newaxis], classes_of_images, log_shift)

    def sum_and_gradients(self, scale: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        """Σ −log p(label), and its derivatives by scale [C] and bias [C]."""
        logits = self.log_posteriors * scale + (bias + self.log_shift)
        images = np.arange(len(logits))
        normalisers = log_normaliser(logits)
        loss = float((normalisers - logits[images, self.labels]).sum())
        excess = np.exp(logits - normalisers[:, np.newaxis])  # p − one-hot
        excess[images, self.labels] -= 1
        return loss, np.einsum("mc,mc->c", excess, self.log_posteriors), excess.sum(axis=0)


def _fit(
    likelihood: _HeldOutLikelihood, *, biased: bool, by_class: bool, shrinkages: tuple[float, float]
) -> Calibrator:
    """By L-BFGS-B from T = 1, b = 0, over log 1/T, then b [C], then the classes' deviations of log a [C].

    `shrinkages` are of the first, and of all the others.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - takes a second, and only this fit needs it

    for strength in shrinkages:
        if not 0 <= strength < np.inf:
            raise ValueError(f"shrinkage must be at least 0 and finite, not {strength}")
    size, classes = likelihood.log_posteriors.shape
    free = np.array([True, *[biased] * classes, *[by_class] * classes])
    strengths = np.array([shrinkages[0], *[shrinkages[1]] * (int(free.sum()) - 1)])

    def unpacked(values: Floats) -> tuple[Floats, Floats]:
        parameters = np.zeros(free.size)
        parameters[free] = values
        return np.exp(parameters[0] + parameters[1 + classes :]), parameters[1 : 1 + classes]

    def objective(values: Floats) -> tuple[float, Floats]:
        scale, bias = unpacked(values)
        loss, by_scale, by_bias = likelihood.sum_and_gradients(scale, bias)
        by_log_scale = by_scale * scale
        gradient = np.concatenate([[by_log_scale.sum()], by_bias, by_log_scale])[free]
        shrunk = strengths * values
        return (loss + float(shrunk @ values) / 2) / size, (gradient + shrunk) / size

    limits = (-np.log(LARGEST_TEMPERATURE), -np.log(LEAST_TEMPERATURE))
    bounds = [limits, *[(None, None)] * (int(free.sum()) - 1)]
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(objective, np.zeros(int(free.sum())), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    scale, bias = unpacked(found.x)
    return Calibrator(scale, bias)
