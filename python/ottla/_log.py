"""The library's log, as loggers below `ottla`."""

from __future__ import annotations

import logging

from . import _ottla

# By the numbers of the native half: error, warn, info, debug, trace.
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG, 5: 5}


def log(level: int, target: str, text: str) -> None:
    """Called by the native half, on a thread of its own, for each line."""
    logging.getLogger(target).log(_LEVELS[level], "%s", text)


def bridge() -> None:
    """Has as much handed over as the logger `ottla` takes now. Call it again after changing the logger's level."""
    wanted = logging.getLogger("ottla").getEffectiveLevel()
    _ottla.set_log_level(max((number for number, level in _LEVELS.items() if level >= wanted), default=0))
