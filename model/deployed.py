"""A trained ensemble with everything around it, as one program for other places: bytes of pixels in, probabilities out.

Shapes: `B` batch, `E` experts, `C` classes, `S` side of an image.

    uint8 pixels [B, S, S, 3] → normalised [B, 3, S, S] → expert logits [B, E, C] → their mean [B, C]
                              → calibrated → corrected to another class prior → softmax: probabilities [B, C]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from model.experts import ExpertModel
from model.posthoc_calibration import Calibrator
from model.priors import adjust_logits
from model.shift_sharpening import sharpness


class DeployedModel(nn.Module):
    """Probabilities [B, C] of uint8 images [B, S, S, 3], red first, of the size that the network was trained on.

    Args:
        network: the experts; it computes in the precision of its weights.
        mean: of each channel, on the scale 0 … 1.
        std: likewise.
        calibrator: of the mean's logits; None: they stay as they are.
        home_prior: [C], under which the calibrated logits are right; None: uniform.
        target_prior: [C], frequencies or counts of the images to come; None: no correction.

    Raises:
        ValueError: a calibrator or a prior of another number of classes.
    """

    scale: Tensor
    offset: Tensor
    calibration_scale: Tensor
    log_odds_shift: Tensor

    def __init__(
        self,
        network: ExpertModel,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        calibrator: Calibrator | None = None,
        home_prior: ArrayLike | None = None,
        target_prior: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.calibrates = calibrator is not None
        classes = network.num_classes
        shift: NDArray[np.floating] = np.zeros(classes)
        if calibrator is not None:
            if calibrator.scale.size != classes:
                raise ValueError(f"the calibration has {calibrator.scale.size} classes and the network {classes}")
            shift = shift + calibrator.bias
        factor = 1.0
        if target_prior is not None:
            shift = adjust_logits(shift, target_prior, home_prior=home_prior)
            if calibrator is not None:
                home = np.ones(classes) if home_prior is None else home_prior
                factor = sharpness(calibrator.sharpening, target_prior, home)
        channels = [torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (mean, std)]
        self.register_buffer("scale", (1 / (255 * channels[1])).float())
        self.register_buffer("offset", (channels[0] / channels[1]).float())
        scale = np.ones(classes) if calibrator is None else calibrator.scale
        self.register_buffer("calibration_scale", torch.tensor(factor * scale, dtype=torch.float32))
        self.register_buffer("log_odds_shift", torch.tensor(factor * shift, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → float32 [B, C]."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # [B, S, S, 3] → [B, 3, S, S]
        logits = self.network.expert_logits(pixels * self.scale - self.offset).mean(dim=1)  # [B, E, C] → [B, C]
        if self.calibrates:  # which is a matter of log-posteriors, see `Calibrator`
            logits = torch.log_softmax(logits, dim=-1) * self.calibration_scale
        return torch.softmax(logits + self.log_odds_shift, dim=-1)
