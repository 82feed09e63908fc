"""How the program's own `oauth_cb` is asked for a token."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime
from typing import Any, Optional

# Longest that an event loop may take over it; the client waits for `sasl.login.read.timeout.ms`, which is less.
_PATIENCE_S = 300.0


def ask(callback: Any, loop: Optional[asyncio.AbstractEventLoop]) -> tuple[str, Optional[int], Optional[str], list[tuple[str, str]]]:
    """Calls it, on a thread of its own, and reads what it gives: a `Token`, a tuple of the same, or the token alone."""
    function = callback.token if hasattr(callback, "token") else callback
    given = function("") if _wants_argument(function) else function()
    if inspect.isawaitable(given):
        given = _awaited(given, loop)
    if isinstance(given, (str, bytes)):
        given = (given,)
    value, expires, principal, extensions = (*given, None, None, None)[:4]
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(expires, datetime):
        expires = expires.timestamp()
    # Zero is how confluent-kafka says that it does not know.
    expires_ms = round(expires * 1000) if expires else None
    pairs = [(str(name), str(text)) for name, text in dict(extensions or {}).items()]
    return value, expires_ms, principal or None, pairs


def described(error: BaseException) -> tuple[str, bool]:
    """An exception in words, and whether it may pass by itself: what the network does may."""
    text = str(error)
    name = type(error).__name__
    passes = isinstance(error, (OSError, asyncio.TimeoutError)) or bool(getattr(error, "retriable", False))
    return (f"{name}: {text}" if text else name), passes


def _awaited(given: Any, loop: Optional[asyncio.AbstractEventLoop]) -> Any:
    async def wait() -> Any:
        return await given

    if loop is None:
        return asyncio.run(wait())
    return asyncio.run_coroutine_threadsafe(wait(), loop).result(_PATIENCE_S)


def _wants_argument(function: Any) -> bool:
    """Whether it is one for confluent-kafka, which is given what `sasl.oauthbearer.config` says."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in needed and p.default is inspect.Parameter.empty for p in parameters)
