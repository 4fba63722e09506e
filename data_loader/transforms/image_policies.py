"""Published augmentation policies, image by image on Pillow images; TrivialAugmentWide, which is torchvision's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_loader.transforms.batch_transforms import BatchTransform
from utils.late_compiler import import_without_compiler
from utils.random_streams import Stream, sample_seeds


def import_torchvision() -> None:
    """Have torchvision's operations imported, which takes seconds: by who needs them, before workers are forked."""
    import_without_compiler("torchvision.transforms")


class ImagePolicy(BatchTransform):
    """What is done to each image by itself, as a Pillow image."""

    per_image: ClassVar[bool] = True

    @abstractmethod
    def change(self, picture: Image.Image, params: Any) -> Image.Image:
        """One RGB image through the policy, as its own row of the params says."""

    def transform(self, images: Tensor, params: Sequence[Any]) -> Tensor:
        """Images [B, 3, H, W] in 0 … 255 on the CPU, rounded to pixels → uint8 of the same shape."""
        pixels = images if images.dtype == torch.uint8 else images.round().to(torch.uint8)
        changed = []
        for image, row in zip(pixels, params, strict=True):
            picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())  # [3, H, W] → [H, W, 3]
            changed.append(np.asarray(self.change(picture, row)))
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class TrivialAugmentWide(ImagePolicy):
    """One operation at a magnitude, both drawn uniformly (Müller & Hutter, 2021); torchvision's, bilinear.

    torchvision draws from torch's global generator: it is seeded for each image and put back afterwards.

    Args:
        seed: the run's seed.
    """

    seed: int

    def __post_init__(self) -> None:
        import_torchvision()

    def make_params(self, sample_ids: np.ndarray) -> list[int]:
        """A seed for each image."""
        return sample_seeds(self.seed, Stream.POLICY, sample_ids)

    def transform(self, images: Tensor, params: Sequence[int]) -> Tensor:
        """Images [B, 3, H, W] on the CPU → uint8 of the same shape."""
        with torch.random.fork_rng(devices=[]):
            return super().transform(images, params)

    def change(self, picture: Image.Image, params: int) -> Image.Image:
        """One image, under its seed."""
        from torchvision import transforms  # noqa: PLC0415 - see `import_torchvision`

        torch.default_generator.manual_seed(params)  # torch.manual_seed would seed the GPUs, too
        return transforms.TrivialAugmentWide(interpolation=transforms.InterpolationMode.BILINEAR)(picture)
