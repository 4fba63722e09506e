"""Published augmentation policies, image by image on Pillow images, from torchvision; seeded by the sample's id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from data_loader.transforms.batch_transforms import BatchTransform
from utils.random_streams import Stream, sample_seeds

_POLICIES: dict[str, Callable[[], torch.nn.Module]] = {
    "autoaugment": lambda: transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    "trivialaugment": transforms.TrivialAugmentWide,
}


@dataclass(frozen=True)
class ImagePolicy(BatchTransform):
    """AutoAugment (Cubuk et al., 2019; CIFAR-10's policy) or TrivialAugmentWide (Müller & Hutter, 2021).

    torchvision's policies draw from torch's global generator: it is seeded for each image and put back afterwards.

    Args:
        seed: the run's seed.
        name: which policy.
    """

    per_image: ClassVar[bool] = True

    seed: int
    name: Literal["autoaugment", "trivialaugment"]

    def make_params(self, sample_ids: np.ndarray) -> list[int]:
        """A seed for each image."""
        return sample_seeds(self.seed, Stream.POLICY, sample_ids)

    def transform(self, images: Tensor, params: Sequence[int]) -> Tensor:
        """Images [B, 3, H, W] on the CPU, each through the policy."""
        policy = _POLICIES[self.name]()
        changed = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(images, params, strict=True):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs, too
                picture = Image.fromarray(image.permute(1, 2, 0).numpy())  # [3, H, W] → [H, W, 3]
                changed.append(np.asarray(policy(picture)))
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).contiguous()
