"""What goes wrong, as exceptions.

`OttlaError` is the base of all. `KafkaError` is what a broker refused, with a class for each of Kafka's codes; what is local to the
client has classes of its own. Each tells `code`, `name`, whether the same call may succeed later (`retriable`), whether nothing helps
before a person acted (`fatal`), whether the transaction must be aborted (`abortable`), and, where it is known, what to do (`hint`).

The classes are made of the tables of which `docs/guide/errors.md` is made, too.
"""

from __future__ import annotations

from typing import Optional


class OttlaError(Exception):
    """The base of all that this package raises itself."""

    code: int = 0
    name: str = ""
    retriable: bool = False
    fatal: bool = False
    abortable: bool = False
    hint: Optional[str] = None
    message: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class KafkaError(OttlaError):
    """A broker refused, by a code of Kafka's."""


# Below the base classes, which the generated ones derive from.
from ._broker_errors import *  # noqa: E402,F403
from ._broker_errors import BY_CODE as _BY_CODE  # noqa: E402
from ._local_errors import *  # noqa: E402,F403
from ._local_errors import BY_NAME as _BY_NAME  # noqa: E402

for _kind in [*_BY_CODE.values(), *_BY_NAME.values()]:
    _kind.__module__ = __name__


def _make(
    code: int,
    name: str,
    message: str,
    *,
    retriable: bool,
    fatal: bool,
    abortable: bool,
    hint: Optional[str],
) -> OttlaError:
    """Called by the native half."""
    kind = _BY_CODE.get(code, KafkaError) if code > 0 else _BY_NAME.get(name, OttlaError)
    error = kind(message)
    error.code, error.name, error.message = code, name, message
    error.retriable, error.fatal, error.abortable, error.hint = retriable, fatal, abortable, hint
    return error
