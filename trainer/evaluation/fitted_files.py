"""What a tool fits to one checkpoint, kept in a JSON file beside it: `<stem>.<suffix>.json`.

    CALIBRATION_FILE = FittedFile("calibration", …)
    CALIBRATION_FILE.write(CALIBRATION_FILE.path(checkpoint), stored)
    stored = CALIBRATION_FILE.of_checkpoint(checkpoint, digest)

Every such file has a format, the checkpoint's name and digest, and what was fitted on; the rest is its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from utils.config.json_files import UnreadableJsonError, parse_json
from utils.errors import UserError
from utils.files.reading import read_text_file
from utils.files.writing import write_text


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted to one checkpoint.

    Args:
        checkpoint: name of the file whose networks it is for; of other programs' predictions the name of theirs.
        digest: SHA-256 of that checkpoint; "" where there is none.
        fitted_on: what it was fitted to, in words.
    """

    checkpoint: str
    digest: str
    fitted_on: str

    def origin_as_json(self) -> dict[str, str]:
        """What a file says of it that every such file says; `origin_from_json` reads it."""
        return {"checkpoint": self.checkpoint, "checkpoint_sha256": self.digest, "fitted_on": self.fitted_on}


AnyFitted = TypeVar("AnyFitted", bound=Fitted)


@dataclass(frozen=True)
class FittedFile(Generic[AnyFitted]):
    """One kind of such files.

    Args:
        kind: what one is: "calibration".
        described: the same with its article, where it has one: "a calibration".
        suffix: of the file's name, between the checkpoint's stem and ".json".
        tool: the module that makes one, as in "tools.calibrate".
        most_bytes: a larger file is none.
        as_json: its content.
        from_json: the content and the file's name for messages → what was fitted. It may raise KeyError, TypeError,
            ValueError, AttributeError or OverflowError of content that is none.
        indent: of the JSON, in spaces; None: all on one line.
    """

    kind: str
    described: str
    suffix: str
    tool: str
    most_bytes: int
    as_json: Callable[[AnyFitted], Mapping[str, Any]]
    from_json: Callable[[Any, str], AnyFitted]
    indent: int | None = None

    def path(self, checkpoint: Path) -> Path:
        """Where a checkpoint's own lies."""
        return checkpoint.with_name(f"{checkpoint.stem}.{self.suffix}.json")

    def command(self, checkpoint: Path) -> str:
        """The command that fits and stores a checkpoint's own."""
        return f"python -m {self.tool} {checkpoint}"

    def of_checkpoint(self, checkpoint: Path, digest: str) -> AnyFitted:
        """What lies beside a checkpoint.

        Args:
            checkpoint: its file.
            digest: SHA-256 of it, which it has to be of.

        Raises:
            UserError: in one line, with the command that makes it: there is none, it is of another checkpoint, or what
                `read` says.
        """
        path, command = self.path(checkpoint), self.command(checkpoint)
        anew = f"; make it anew: {command}"
        stored = self.read(path, if_missing=f"; make it: {command}", if_unusable=anew)
        if stored.digest != digest:
            raise UserError(f"{path}: was fitted to another checkpoint than {checkpoint.name} is now{anew}")
        return stored

    def read(self, path: Path, digest: str | None = None, *, if_missing: str = "", if_unusable: str = "") -> AnyFitted:
        """What a file holds.

        Args:
            path: of the file.
            digest: SHA-256 of the checkpoint that it has to be of; None: of any.
            if_missing: what is said besides where there is no such file.
            if_unusable: likewise, where it holds something else.

        Raises:
            UserError: in one line: it is missing, unreadable, of another checkpoint, or holds something else.
        """
        text = read_text_file(path, self.kind, most_bytes=self.most_bytes, if_missing=if_missing)
        try:
            content = parse_json(text)
        except (json.JSONDecodeError, UnreadableJsonError) as error:
            raise UserError(f"{path}: can't be read as {self.described}: {error}{if_unusable}") from None
        try:
            if content["format"] != self._format:
                raise ValueError(content["format"])
            stored = self.from_json(content, str(path))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise UserError(f"{path}: holds no {self.kind} as {self.tool} writes it{if_unusable}") from None
        if digest is not None and stored.digest != digest:
            raise UserError(
                f"{path}: was fitted to another checkpoint, {stored.checkpoint} (SHA-256 {stored.digest[:12]}…)"
            )
        return stored

    def write(self, path: Path, stored: AnyFitted) -> None:
        """Write a file that `read` reads to the last digit, atomically.

        Raises:
            UserError: the folder can't be written to; an earlier file is untouched.
        """
        content = {"format": self._format, **self.as_json(stored)}
        write_text(path, json.dumps(content, indent=self.indent, ensure_ascii=False, allow_nan=False) + "\n")

    @property
    def _format(self) -> str:
        return f"{self.kind} 1"


def origin_from_json(content: Any) -> tuple[str, str, str]:
    """Checkpoint, digest and what it was fitted to, of a file's content.

    Raises:
        KeyError, TypeError, ValueError: one is missing, or no text.
    """
    checkpoint, digest, fitted_on = (content[name] for name in ("checkpoint", "checkpoint_sha256", "fitted_on"))
    if not all(isinstance(word, str) for word in (checkpoint, digest, fitted_on)):
        raise ValueError("words")
    return checkpoint, digest, fitted_on
