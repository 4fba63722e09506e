"""Class priors π and the experts' exponents τ (arXiv 2206.05260).

Shapes: `E` experts, `C` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

EPS = 1e-9
"""Added to a prior before its logarithm: a class without images gets log(1e-9) ≈ −20.7, not −∞."""


@overload
def log_prior(class_counts: Tensor, *, eps: float = EPS) -> Tensor: ...
@overload
def log_prior(class_counts: ArrayLike, *, eps: float = EPS) -> NDArray[np.float64]: ...
def log_prior(class_counts: Tensor | ArrayLike, *, eps: float = EPS) -> Tensor | NDArray[np.float64]:
    """log(π + eps) [C], where π = class_counts / Σ class_counts: a tensor for a tensor, else float64 NumPy.

    Args:
        class_counts: [C], each ≥ 0 with a positive sum: images a class, or frequencies. A tensor's values are not
            checked, as that would wait for its device.
        eps: > 0.

    Raises:
        ValueError: a count is negative or not finite, or all are zero.
    """
    if isinstance(class_counts, Tensor):
        return (class_counts / class_counts.sum() + eps).log()
    counts = checked_class_counts(class_counts)
    return np.log(counts / counts.sum() + eps)


def checked_class_counts(class_counts: ArrayLike) -> NDArray[np.float64]:
    """`class_counts` [C] as float64, or a ValueError where they are no counts of images."""
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.ndim != 1 or counts.size == 0:
        raise ValueError(f"class counts need the shape [C], not {list(counts.shape)}")
    if not (np.isfinite(counts).all() and counts.min() >= 0 and counts.sum() > 0):
        raise ValueError("class counts must be finite, at least 0 and not all 0")
    return counts


def adjust_logits(
    logits: NDArray[np.floating], target_prior: ArrayLike, *, home_prior: ArrayLike | None = None, eps: float = EPS
) -> NDArray[np.floating]:
    """Logits of a model that is right under one class prior, corrected to another one by Bayes' rule.

    log(π_test + eps) is added, and log(π_home + eps) subtracted. A class that is not in the home prior stays as good as
    ruled out: where the model was at home the class did not exist.

    Args:
        logits: [..., C]; the result has their floating type, at least float32.
        target_prior: [C], counts or frequencies of the test set.
        home_prior: [C], under which the logits are right; None: the uniform one, which needs no term.
        eps: > 0; a class absent from the test set is all but ruled out and yet keeps a finite logit.

    Raises:
        ValueError: a prior has another number of classes, or is no prior.
    """
    dtype = np.promote_types(logits.dtype, np.float32)
    correction = log_prior(target_prior, eps=eps)
    if home_prior is not None:
        log_home = log_prior(home_prior, eps=eps)
        if log_home.size != correction.size:
            raise ValueError(f"the home prior has {log_home.size} classes and the target prior {correction.size}")
        correction = np.where(np.asarray(home_prior) > 0, correction - log_home, math.log(eps))
    if logits.shape[-1] != correction.size:
        raise ValueError(f"logits have {logits.shape[-1]} classes and the target prior {correction.size}")
    return logits.astype(dtype, copy=False) + correction.astype(dtype)


def mean_home(home_priors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The prior [C] under which the mean of several models' logits is right: the geometric mean of theirs, [E, C].

    A class that one of them does not have is not in it.
    """
    with np.errstate(divide="ignore"):
        log_mean = np.log(np.asarray(home_priors, np.float64)).mean(axis=0)  # [E, C] → [C]
    weights = np.exp(log_mean - log_mean.max())
    return weights / weights.sum()


def normalise_tau_list(
    tau_list: Sequence[float] | str, num_experts: int, tau_min: float | None = None, tau_max: float | None = None
) -> list[float]:
    """The exponents τ of the E experts, from any form that a configuration or a command line may hold.

    Args:
        tau_list: E numbers, or "a;b;c", or "limits" (E equidistant values from tau_min to tau_max, ends included; their
            mean for E = 1), or "uniform" (tau_min + (tau_max − tau_min)(i + ½)/E).
        num_experts: E ≥ 1.
        tau_min: needed by the words, else unused.
        tau_max: needed by the words, else unused.

    Raises:
        ValueError: another word, a number of entries other than E, an entry that is no finite number, a missing limit.
    """
    if isinstance(tau_list, str) and tau_list.strip() in ("limits", "uniform"):
        if tau_min is None or tau_max is None:
            missing = " and ".join(name for name, tau in (("tau_min", tau_min), ("tau_max", tau_max)) if tau is None)
            raise ValueError(f"tau_list '{tau_list}' needs {missing}: set loss.tau_min and loss.tau_max")
        return _spaced_taus(tau_list.strip(), num_experts, float(tau_min), float(tau_max))
    entries = tau_list.split(";") if isinstance(tau_list, str) else list(tau_list)
    try:
        taus = [float(entry) for entry in entries]
    except (TypeError, ValueError):
        taus = [math.nan]
    if not all(math.isfinite(tau) for tau in taus):
        raise ValueError(f"tau_list {tau_list!r}: give a list of numbers, 'a;b;c', 'limits' or 'uniform'")
    if len(taus) != num_experts:
        raise ValueError(
            f"tau_list {tau_list!r} has {len(taus)} entries and num_experts is {num_experts}: make them equal"
        )
    return taus


def _spaced_taus(spacing: str, num_experts: int, tau_min: float, tau_max: float) -> list[float]:
    """E values between the limits: with the ends ("limits"), or the middles of E equal parts ("uniform")."""
    if spacing == "uniform" or num_experts == 1:
        return [tau_min + (tau_max - tau_min) * (index + 0.5) / num_experts for index in range(num_experts)]
    return np.linspace(tau_min, tau_max, num_experts).tolist()
