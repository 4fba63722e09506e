"""Mutations of a configuration's text: encodings, comments, duplicates, what is no JSON, numbers that are none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

from benchmarks.odd_input_campaign.drafts import Draft, to_json

_Change = Callable[[str, random.Random], str | bytes]


def _before(pattern: str, insertion: str) -> _Change:
    def change(text: str, random_: random.Random) -> str:
        place = random_.choice([match.start() for match in re.finditer(pattern, text)])
        return text[:place] + insertion + text[place:]

    return change


def _in_place(pattern: str, replacement: str) -> _Change:
    """One of the places that match is replaced."""

    def change(text: str, random_: random.Random) -> str:
        match = random_.choice(list(re.finditer(pattern, text)))
        return text[: match.start()] + replacement + text[match.end() :]

    return change


def _nested(depth: int, brackets: str) -> _Change:
    opening, closing = ("[", "]") if brackets == "[" else ('{"a":', "}")
    return _in_place(r'"lr": [^,\n]+', f'"lr": {opening * depth}1{closing * depth}')


def _doubled(text: str, random_: random.Random) -> str:
    """One key of an object appears in it once more."""
    match = random_.choice(list(re.finditer(r'"(\w+)": ("[^"]*"|[\d.]+|true|false)(?=,|\n)', text)))
    other = random_.choice([match[2], "null", "[]"])
    return text[: match.end()] + f', "{match[1]}": {other}' + text[match.end() :]


_LEGAL: dict[str, _Change] = {
    "a byte order mark": lambda text, _: text.encode("utf-8-sig"),
    "CRLF": lambda text, _: text.replace("\n", "\r\n"),
    "no line breaks": lambda text, _: json.dumps(json.loads(text)),
    "escaped letters": lambda text, _: re.sub(r'"(\w)(\w+)":', lambda m: f'"\\u{ord(m[1]):04x}{m[2]}":', text),
    "tabs": lambda text, _: text.replace("\n", "\n\t\t"),
    "blank lines around": lambda text, _: f"\n\n \t{text}\n\n\n",
    "a line comment": _before(r'\n *"', '  // a comment, with "quotes" and { [ '),
    "a block comment": _before(r'"\w+":', '/* a comment\n over // two lines " */ '),
    "a comment between key and value": _in_place(r'": ', '" /* here */ : // and here\n '),
    "comments at both ends": lambda text, _: f"// first\n/* second */{text}// last",
    "a comment of stars": _before(r'\n *"', " /*** * / **/"),
    "comment marks within a text": lambda text, _: text.replace(
        '"save_dir": "', '"save_dir": "/* no */ // comment ', 1
    ),
    "keys in another order": lambda text, _: json.dumps(dict(reversed(json.loads(text).items()))),
    "exponents": _in_place(r'"weight_decay": [\d.e-]+', '"weight_decay": 5E-4'),
    "a comment key twice": _before(r'"name":', '"_comment": 1, "_comment": 2, '),
}
_ILLEGAL: dict[str, _Change] = {
    "UTF-16": lambda text, _: text.encode("utf-16"),
    "UTF-32": lambda text, _: text.encode("utf-32-le"),
    "Latin-1": lambda text, _: text.replace('"name": "', '"name": "ü', 1).encode("latin-1"),
    "a broken letter": lambda text, _: text.encode().replace(b'"name": "', b'"name": "\xff\xfe', 1),
    "half of it": lambda text, random_: text[: random_.randrange(2, len(text) - 3)],
    "a key twice": _doubled,
    "a section twice": lambda text, _: text.rstrip()[:-1] + ', "trainer": {}}',
    "a comma too many": _in_place(r",\n", ",,\n"),
    "a comma before the end": _in_place(r'(?<=[\w"\]}])\n *}', ",\n}"),
    "no comma": _in_place(r'(?<=[\w"]),\n', "\n"),
    "no colon": _in_place(r'": ', '" '),
    "single quotes": lambda text, _: text.replace('"', "'"),
    "no quotes": _in_place(r'"(\w+)":', "name:"),
    "two objects": lambda text, _: f"{text}\n{text}",
    "something behind": lambda text, random_: text + random_.choice(["}", "]", "null", "\0", ";", "x"]),
    "something before": lambda text, random_: random_.choice(["[", "{", "x", "config = ", "---\n", "\0"]) + text,
    "in a list": lambda text, _: f"[{text}]",
    "nothing": lambda text, random_: random_.choice(["", " \n", "// nothing", "\ufeff", "\0" * 20]),
    "no object": lambda text, random_: random_.choice(
        ["null", "[]", "5", '"x"', "true", "NaN", "-Infinity", "{}", "[{}]"]
    ),
    "NaN": _in_place(r'"(lr|momentum|gamma|alpha|tau_max|T_max)": [\d.]+', '"lr": NaN'),
    "Infinity": _in_place(r'"(lr|momentum)": [\d.]+', '"lr": Infinity'),
    "a number of 5,000 digits": _in_place(r'"(epochs|batch_size|num_workers)": \d+', f'"epochs": {"7" * 5000}'),
    "a fraction of 10,000 digits": _in_place(r'"epochs": \d+', f'"epochs": 1.{"7" * 10000}'),
    "a hexadecimal number": _in_place(r'"epochs": \d+', '"epochs": 0x10'),
    "a leading zero": _in_place(r'"epochs": \d+', '"epochs": 010'),
    "a plus sign": _in_place(r'"epochs": \d+', '"epochs": +1'),
    "a number with underscores": _in_place(r'"epochs": \d+', '"epochs": 1_0'),
    "True": _in_place(r"\b(true|false)\b", "True"),
    "900 lists in one another": _nested(900, "["),
    "90 objects in one another": _nested(90, "{"),
    "100,000 lists in one another": _nested(100_000, "["),
    "100,000 opening brackets": lambda text, _: "[" * 100_000,
    "a line break in a text": lambda text, _: text.replace('"name": "', '"name": "a\nb', 1),
    "an unknown escape": lambda text, _: text.replace('"name": "', '"name": "\\x41', 1),
    "a comment of another language": _before(r'\n *"', "  # a comment"),
    "an open comment": _before(r'"optimizer":', "/* "),
    "bytes at random": lambda text, random_: random_.randbytes(random_.choice([1, 10, 5000])),
}


def texts(draft: Draft, random_: random.Random) -> None:
    """The file's text is written in another way, or broken."""
    legal = random_.random() < 0.35
    what, change = random_.choice(sorted((_LEGAL if legal else _ILLEGAL).items()))
    changed = change(to_json(draft.doc) + "\n", random_)
    draft.content = changed if isinstance(changed, bytes) else changed.encode()
    draft.trains &= "save_dir" not in what and "within a text" not in what
    draft.mark(f"text: {what}", legal)
