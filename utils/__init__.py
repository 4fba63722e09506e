"""What everything else stands on: configuration, randomness, files, logs, tables and plots.

A script that is interrupted while it imports this and what comes after it ends without a traceback, as it does later.
"""

import sys
from types import TracebackType

_tell = sys.excepthook


def _tell_unless_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _tell(kind, error, trace)


sys.excepthook = _tell_unless_interrupted
