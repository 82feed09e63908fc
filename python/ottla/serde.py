"""Serializers and deserializers: any callable is one. These are the usual ones."""

from __future__ import annotations

import json as _json
from typing import Any, Callable


def utf8(text: str) -> bytes:
    """Text as UTF-8."""
    return text.encode()


def from_utf8(data: bytes) -> str:
    """Text of UTF-8."""
    return data.decode()


def json(value: Any) -> bytes:
    """JSON without spaces."""
    return _json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def from_json(data: bytes) -> Any:
    """What is in JSON."""
    return _json.loads(data)


def json_of(make: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Makes an object of JSON's fields, as of a dataclass: `value_deserializer=serde.json_of(Order)`."""
    return lambda data: make(**_json.loads(data))
