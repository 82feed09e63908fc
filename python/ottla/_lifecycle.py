"""What happens to producers that nobody has closed when the program ends: what they have taken is sent."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import Any

from .errors import ClosedError, ForkedClientError

# Longest that the program's end waits for records that were not flushed.
_FLUSH_AT_EXIT_S = 5.0

_producers: "weakref.WeakSet[Any]" = weakref.WeakSet()


def watch(producer: Any) -> None:
    _producers.add(producer)


def _flush() -> None:
    for producer in list(_producers):
        try:
            producer.flush(_FLUSH_AT_EXIT_S)
        except (ClosedError, ForkedClientError):
            # It was closed in order; or it is a parent's, who flushes it.
            pass
        except Exception as error:  # noqa: BLE001 - there is nobody left to raise it to
            logging.getLogger("ottla").warning("records were not delivered when the program ended: %s", error)


def register() -> None:
    atexit.register(_flush)
