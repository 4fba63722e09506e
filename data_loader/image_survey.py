"""What the image files of a data set are: which can't be read, of which kind the others are, and which are the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from torch.utils.data import DataLoader, Dataset

from data_loader.datasets.decoding import DecodedImage, ImageReader, UnreadableImageError, read_file
from data_loader.datasets.pixel_values import Depth, ValueRange
from data_loader.worker_processes import batches_of
from utils.reporting.progress import progress_bar

_IMAGES_AT_ONCE = 32
_DARK = 1 / 4  # of the type's range: what most images keep below is nearly black as a picture


class Finding(NamedTuple):
    """What is known of a file.

    Attributes:
        reason: why it can't be read; empty where it can.
        kind: mode and depth in words.
        depth: of more than 8 bits; else None.
        digest: of its pixels, or of the file where 8 bits don't hold them; equal for equal images.
        size: width and height.
    """

    reason: str
    kind: str = ""
    depth: Depth | None = None
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)


class _Survey(Dataset[Finding]):
    """What torch's workers find out."""

    def __init__(self, paths: Sequence[str], reader: ImageReader) -> None:
        self.paths, self.reader = paths, reader

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Finding:
        path = self.paths[index]
        try:
            content = read_file(path)
            image = self.reader.decode(content, path)
        except UnreadableImageError as error:
            return Finding(str(error).removeprefix(f"{path}: "))
        _, height, width = image.pixels.shape
        return Finding("", image.kind, image.depth, _digest(image, content), (width, height))


def survey(paths: Sequence[str], reader: ImageReader, *, workers: int) -> dict[str, Finding]:
    """Open every file: path → what was found, in the order given."""
    files = DataLoader(_Survey(paths, reader), batch_size=_IMAGES_AT_ONCE, num_workers=workers, collate_fn=list)
    findings: list[Finding] = []
    with progress_bar("checking", len(paths)) as bar:
        for batch in batches_of(files):
            findings += batch
            bar.update(len(batch))
    return dict(zip(paths, findings, strict=True))


def kind_lines(findings: Sequence[Finding], value_range: ValueRange | None) -> list[str]:
    """The share of each kind, and how images of more than 8 bits will come out."""
    readable = [finding for finding in findings if not finding.reason]
    if not readable:
        return []
    kinds = Counter(finding.kind for finding in readable)
    shares = ", ".join(f"{kind} {100 * count / len(readable):.1f} %" for kind, count in kinds.most_common())
    lines = [f"kinds: {shares}"]
    for kind in kinds:
        depths = [finding.depth for finding in readable if finding.kind == kind and finding.depth is not None]
        for ceiling in sorted({depth.ceiling for depth in depths}):
            lines.append(_depth_line(kind, [depth for depth in depths if depth.ceiling == ceiling], value_range))
    return lines


def shared_images(by_split: Mapping[str, Sequence[str]], findings: Mapping[str, Finding]) -> dict[str, str]:
    """Images that are in two splits: path → where the same one is in a split before, in words.

    Args:
        by_split: the paths of each split.
        findings: of all of them.
    """
    first: dict[bytes, tuple[str, str]] = {}
    shared: dict[str, str] = {}
    for split, paths in by_split.items():
        for path in paths:
            if not findings[path].digest:
                continue
            before, other = first.setdefault(findings[path].digest, (split, path))
            if before != split:
                named = "too" if other == path else f"as {other}"
                shared[path] = f"this {split} image is in the {before} split, {named}"
    return shared


def _depth_line(kind: str, depths: Sequence[Depth], value_range: ValueRange | None) -> str:
    """`"12 16-bit grey images, values 200 … 3,500 of 65,535: they will be nearly black; set …"`."""
    low, high, ceiling = min(depth.low for depth in depths), max(depth.high for depth in depths), depths[0].ceiling
    of_type = f" of {ceiling:,g}" if ceiling else ""
    told = f"{len(depths):,} {kind} image{'s' * (len(depths) != 1)}, values {low:,g} … {high:,g}{of_type}"
    if value_range is not None:
        beyond = "; what lies beyond is cut off" * (low < value_range[0] or high > value_range[1])
        return f"{told}: scaled from {value_range[0]:,g} … {value_range[1]:,g} (value_range){beyond}"
    usual_low, usual_high = median(depth.low for depth in depths), median(depth.high for depth in depths)
    dark, bright = usual_high < ceiling * _DARK, usual_low > ceiling * (1 - _DARK)
    if not (dark or bright) or usual_low == usual_high:
        return f"{told}: scaled by their type's range"
    limits = (low, high) if high - low < ceiling * _DARK else (usual_low, usual_high)
    shade = "black" if dark else "white"
    return f"{told}: they will be nearly {shade}; set data_loader.args.value_range to [{limits[0]:g}, {limits[1]:g}]"


def _digest(image: DecodedImage, content: bytearray) -> bytes:
    pixels = image.pixels.permute(1, 2, 0).contiguous().numpy()  # [3, H, W] → [H, W, 3], as most lie in memory
    what = content if image.depth is not None else pixels.tobytes()
    return hashlib.blake2b(what, digest_size=16, salt=f"{pixels.shape[0]}×{pixels.shape[1]}".encode()).digest()
