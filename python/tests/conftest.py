from __future__ import annotations

import itertools
from typing import Callable

import pytest

_numbers = itertools.count()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Names that no other test has."""
    return lambda stem: f"{stem}-{next(_numbers)}"
