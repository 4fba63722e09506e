"""From an image file to the pixels that an exported program takes.

`prepare` needs Pillow and NumPy alone. Its source stands in the metadata of every exported file, to be copied.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


def prepare(path: str, side: int, shorter: int) -> np.ndarray:
    """An image file as uint8 pixels [side, side, 3]: its shorter side resized to `shorter`, then the middle."""
    image = Image.open(path).convert("RGB")
    width, height = (int(shorter * pixels / min(image.size)) for pixels in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


class ResizeRule(NamedTuple):
    """How images of any size become the program's.

    Attributes:
        side: S, of the result.
        shorter: what the shorter side is resized to before the middle is cut out.
    """

    side: int
    shorter: int

    @property
    def metadata(self) -> dict[str, Any]:
        """The rule in numbers, in words and as source."""
        return {
            **self._asdict(),
            "words": f"RGB; shorter side resized to {self.shorter} (bilinear, antialiased), then the middle "
            f"{self.side} x {self.side} pixels",
            "source": "import numpy as np\nfrom PIL import Image\n\n" + inspect.getsource(prepare),
        }
