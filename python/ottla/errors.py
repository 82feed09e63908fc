"""What goes wrong, as exceptions.

`OttlaError` is the base of all. `KafkaError` is what a broker refused, with a class for each of Kafka's codes; what is local to the
client has classes of its own. Each tells `code`, `name`, whether the same call may succeed later (`retriable`), whether nothing helps
before a person acted (`fatal`), whether the transaction must be aborted (`abortable`), and, where it is known, what to do (`hint`).
"""

from __future__ import annotations

import builtins
from typing import Optional

_Timeout = builtins.TimeoutError


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


class ConfigError(OttlaError, ValueError):
    """A setting is wrong."""


class InvalidArgumentError(OttlaError, ValueError):
    """An argument is wrong, or the call makes no sense now."""


class TimeoutError(OttlaError, _Timeout):  # noqa: A001 - it is that, too
    """It was not done in its time."""


class BufferFullError(OttlaError):
    """There is no room in `buffer.memory`."""


class ClosedError(OttlaError):
    """The client was closed."""


class TransportError(OttlaError, ConnectionError):
    """A connection could not be made, or ended before the answer came."""


class CancelledError(OttlaError):
    """The client was let go before the operation ended."""


class ForkedClientError(OttlaError):
    """The client was made by a parent of this process: make one in each process, after the fork."""


class RecordTooLargeError(OttlaError):
    """The record is larger than `max.request.size`, or than the protocol can carry."""


class NoOffsetError(OttlaError):
    """The partition has no position, and `auto.offset.reset` is `none`."""


class LogTruncatedError(OttlaError):
    """The partition's log was truncated below the position: what was read there is not in it any more."""


class CommitFailedError(OttlaError):
    """Offsets were not committed: the partitions are no longer this consumer's."""


class MaxPollExceededError(OttlaError):
    """No records were asked for within `max.poll.interval.ms`, and the consumer left its group."""


class UnsupportedError(OttlaError):
    """The broker does not have the API, or no version that both sides know."""


class CorruptError(OttlaError):
    """Bytes that are not what the protocol says, or that a deserializer does not understand."""


class InternalError(OttlaError):
    """A bug in this library. The client it was met at is of no more use."""


_LOCAL: dict[str, type[OttlaError]] = {
    "INVALID_ARG": InvalidArgumentError,
    "TIMEOUT": TimeoutError,
    "QUEUE_FULL": BufferFullError,
    "CLOSED": ClosedError,
    "TRANSPORT": TransportError,
    "CANCELLED": CancelledError,
    "FORKED": ForkedClientError,
    "CONFIG": ConfigError,
    "RECORD_TOO_LARGE": RecordTooLargeError,
    "NO_OFFSET": NoOffsetError,
    "LOG_TRUNCATED": LogTruncatedError,
    "COMMIT_FAILED": CommitFailedError,
    "MAX_POLL_EXCEEDED": MaxPollExceededError,
    "UNSUPPORTED": UnsupportedError,
    "CORRUPT": CorruptError,
    "PANIC": InternalError,
}

# Below the base class, which the generated classes derive from.
from ._broker_errors import *  # noqa: E402,F403
from ._broker_errors import BY_CODE as _BY_CODE  # noqa: E402

for _kind in _BY_CODE.values():
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
    kind = _BY_CODE.get(code, KafkaError) if code > 0 else _LOCAL.get(name, OttlaError)
    error = kind(message)
    error.code, error.name, error.message = code, name, message
    error.retriable, error.fatal, error.abortable, error.hint = retriable, fatal, abortable, hint
    return error
