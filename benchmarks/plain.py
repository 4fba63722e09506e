"""The same training and evaluation as anybody would write it first: what this project's speed is compared with.

Pillow transforms in worker processes, float32, contiguous memory, experts one after the other, the loss of mixed images
computed twice, one forward pass for each test distribution. ResNet-32's parameters have the names of `model.model`'s,
so that both can hold the same weights.

Shapes: `B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
WORKERS = 2


class PlainBlock(nn.Module):
    """Two 3×3 convolutions; a shortcut of zeros where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.extra = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] → [B, out, H/stride, W/stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.extra:
            half = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return F.relu(out + x)


class PlainClassifier(nn.Module):
    """30 times the cosine between features and each class's weights."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, classes))

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] → [B, C]."""
        return 30 * F.normalize(features, dim=1) @ F.normalize(self.weight, dim=0)


class PlainBackbone(nn.Module):
    """ResNet-32: the first stage shared, two stages and a classifier for each expert."""

    def __init__(self, experts: int, classes: int) -> None:
        super().__init__()

        def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
            first = PlainBlock(in_channels, channels, stride)
            return nn.Sequential(first, *(PlainBlock(channels, channels, 1) for _ in range(4)))

        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, 1)
        self.layer2s = nn.ModuleList(stage(16, 32, 2) for _ in range(experts))
        self.layer3s = nn.ModuleList(stage(32, 64, 2) for _ in range(experts))
        self.linears = nn.ModuleList(PlainClassifier(64, classes) for _ in range(experts))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 32, 32] → each expert's logits [B, E, C]."""
        shared = self.layer1(F.relu(self.bn1(self.conv1(images))))
        logits = []
        for second, third, linear in zip(self.layer2s, self.layer3s, self.linears, strict=True):
            features = F.avg_pool2d(third(second(shared)), 8).flatten(1)
            logits.append(linear(features))
        return torch.stack(logits, dim=1)


class PlainNetwork(nn.Module):
    """The backbone under the name that published checkpoints give it."""

    def __init__(self, experts: int, classes: int) -> None:
        super().__init__()
        self.backbone = PlainBackbone(experts, classes)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 32, 32] → [B, E, C]."""
        logits: Tensor = self.backbone(images)
        return logits


def plain_loss(logits: Tensor, targets: Tensor, *, taus: Sequence[float], log_prior: Tensor) -> Tensor:
    """Mean over experts of cross-entropy on logits + τ·log π: [B, E, C] and labels [B] → 0-dim."""
    losses = [F.cross_entropy(logits[:, expert] + tau * log_prior, targets) for expert, tau in enumerate(taus)]
    return torch.stack(losses).mean()


def plain_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    *,
    taus: Sequence[float],
    log_prior: Tensor,
    alpha: float = 0.4,
) -> float:
    """One update from a batch [B, 3, 32, 32], mixed within itself; returns the loss."""
    mix_lambda = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images))
    logits = network(mix_lambda * images + (1 - mix_lambda) * images[order])
    first = plain_loss(logits, targets, taus=taus, log_prior=log_prior)
    second = plain_loss(logits, targets[order], taus=taus, log_prior=log_prior)
    loss = mix_lambda * first + (1 - mix_lambda) * second
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Images [N, 32, 32, 3] through Pillow, one by one.

    Args:
        pixels: uint8.
        labels: [N].
        augmented: whether they are cropped and flipped at random.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, *, augmented: bool) -> None:
        self.pixels, self.labels = pixels, labels
        random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augmented else []
        self.transform = transforms.Compose(
            [*random, transforms.ToTensor(), transforms.Normalize(CIFAR_MEAN, CIFAR_STD)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])

    def batches(self, *, size: int = 128, shuffle: bool = False) -> DataLoader[tuple[Tensor, int]]:
        """Batches of them, read by worker processes."""
        return DataLoader(self, batch_size=size, shuffle=shuffle, num_workers=WORKERS)


@torch.no_grad()
def plain_sweep(network: nn.Module, images: PlainImages, distributions: Sequence[np.ndarray]) -> list[float]:
    """The ensemble's accuracy on each distribution, given as indices of its images."""
    network.eval()
    accuracies = []
    for indices in distributions:
        right = 0
        for batch, targets in DataLoader(Subset(images, indices.tolist()), batch_size=128, num_workers=WORKERS):
            right += int((network(batch).mean(dim=1).argmax(dim=1) == targets).sum())
        accuracies.append(right / len(indices))
    network.train()
    return accuracies
