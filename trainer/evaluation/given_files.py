"""Files of anybody's predictions, read into the arrays that `trainer.evaluation.scoring` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation.given_arrays import Kind, as_home_priors, as_labels, as_logits
from utils.config.wording import shown
from utils.errors import UserError, nearest
from utils.files.class_tables import by_class, read_class_counts, read_prior
from utils.files.numpy_files import read_numpy
from utils.files.tables import Table, read_table

_ENDINGS = (".npy", ".npz", ".csv", ".parquet")


@dataclass(frozen=True, eq=False)
class GivenPredictions:
    """What a program has said of a test set, and what is known of it.

    Args:
        logits: or log-probabilities, [N, E, C].
        class_names: length C; the indices where there are no names.
        labels: [N]; None: unknown.
        training_counts: length C; None: unknown.
        homes: the class prior that the ensemble [1, C] or each expert [E, C] is right under.
        held_out: logits or log-probabilities [M, E, C] and labels [M] of other images; None: there are none.
    """

    logits: np.ndarray
    class_names: list[str]
    labels: np.ndarray | None
    training_counts: list[int] | None
    homes: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def in_words(self) -> str:
        """Images, experts, classes and training images, in a line."""
        images, experts, classes = self.logits.shape
        told = f"{images} images, {classes} classes" + f", {experts} experts" * (experts > 1)
        if self.training_counts is None:
            return f"{told}; training counts unknown"
        total, most, least = sum(self.training_counts), max(self.training_counts), min(self.training_counts)
        return f"{told}; trained on {total} images, {most} to {least} a class"


def read_predictions(
    path: Path,
    *,
    kind: Kind,
    homes: Sequence[str],
    key: str | None = None,
    labels: Path | None = None,
    labels_key: str | None = None,
    training_counts: Path | None = None,
    held_out: tuple[Path, Path] | None = None,
) -> GivenPredictions:
    """Read and check every file.

    Args:
        path: of logits or probabilities: .npy, .npz, .csv or .parquet.
        kind: what they are.
        homes: "uniform", "train" or a file of a prior, of the ensemble or of each expert.
        key: name of the array, where `path` holds several.
        labels: file of as many labels: names of classes, or indices from 0 where none is a name.
        labels_key: name of their array, where that holds several.
        training_counts: CSV or JSON of the training images of each class.
        held_out: files of the same kinds, and under the same keys, of labelled images that were held out.

    Raises:
        UserError: in one line: what can't be read, or does not fit.
    """
    table = _read(path, "file of logits", key, "--key")
    with _mistakes_of(path):
        logits = as_logits(table.cells, kind)
    names = table.names or [str(label) for label in range(logits.shape[2])]
    counts = None
    if training_counts is not None:
        counts = by_class(training_counts, read_class_counts(training_counts), names).astype(np.int64).tolist()
    targets = None if labels is None else _labels(labels, labels_key, table.names, logits.shape)
    others = None if held_out is None else _held_out(held_out, kind, (key, labels_key), table.names, logits.shape)
    with _mistakes_of("--home"):
        priors = [_home(home, names, logits.shape, counts) for home in homes]
        home = as_home_priors(np.stack(priors), logits.shape, counts)
    return GivenPredictions(logits, names, targets, counts, home, others)


def _labels(path: Path, key: str | None, names: Sequence[str] | None, shape: tuple[int, ...]) -> np.ndarray:
    given = _read(path, "file of labels", key, "--labels-key", words=True, known=names or ())
    with _mistakes_of(path):
        return as_labels(_indices(path, given.cells, names), shape)


def _held_out(
    paths: tuple[Path, Path],
    kind: Kind,
    keys: tuple[str | None, str | None],
    names: Sequence[str] | None,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of held-out images; the keys are for those of the files that hold several arrays."""
    key, labels_key = (key if path.suffix.lower() == ".npz" else None for path, key in zip(paths, keys, strict=True))
    table = _read(paths[0], "file of logits", key, "--key")
    with _mistakes_of(paths[0]):
        logits = as_logits(table.cells, kind)
        if logits.shape[1:] != shape[1:] or (table.names and names and list(table.names) != list(names)):
            raise ValueError("held-out images have other experts or classes than the test images")
    return logits, _labels(paths[1], labels_key, names, logits.shape)


@contextmanager
def _mistakes_of(place: object) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None


def _read(
    path: Path, what: str, key: str | None, flag: str, *, words: bool = False, known: Sequence[str] = ()
) -> Table:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise UserError(f"{path}: a {what} ends with {', '.join(_ENDINGS)}")
    if ending in (".npy", ".npz"):
        return Table(read_numpy(path, what, key=key, flag=flag), None)
    if key is not None:
        raise UserError(f"{path}: {flag} names an array of a .npz file, and this is none")
    return read_table(path, what, words=words, known=known)


def _home(home: str, names: Sequence[str], shape: tuple[int, ...], counts: Sequence[int] | None) -> np.ndarray:
    if home in ("uniform", "train"):
        return as_home_priors(home, shape, counts)[0]
    path = Path(home)
    if not path.suffix and not path.exists():
        raise UserError(
            f"--home {home}: give uniform, train or a CSV or JSON file{nearest(home, ['uniform', 'train'])}"
        )
    return by_class(path, read_prior(path), names)


def _indices(path: Path, labels: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Labels as class indices: by name where one of them is a name, else as they are."""
    places = {name: place for place, name in enumerate(names or ())}
    texts = [_text(label) for label in labels.ravel().tolist()]
    if not any(text in places for text in texts):
        if labels.dtype.kind == "U" and not all(text.isdecimal() for text in texts):
            raise UserError(f"{path}: {_unknown(texts, places)}")
        return labels.astype(np.int64) if labels.dtype.kind == "U" else labels
    if not all(text in places for text in texts):
        raise UserError(f"{path}: {_unknown(texts, places)}")
    return np.array([places[text] for text in texts]).reshape(labels.shape)


def _text(label: Any) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip()


def _unknown(texts: Sequence[str], places: dict[str, int]) -> str:
    if not places:
        return (
            "the labels are words, and the classes have no names; give indices from 0, or logits as CSV with a header"
        )
    row, text = next((row, text) for row, text in enumerate(texts) if text not in places)
    return f"image {row} (counted from 0): {shown(text)} is no class{nearest(text, places)}"
