"""What a reader says of files that it can't read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from utils.errors import UserError


def refusal(read: Callable[[], object]) -> str:
    """The one line that a reader refuses with."""
    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)
