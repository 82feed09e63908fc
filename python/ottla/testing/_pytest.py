"""The pytest fixture; found by pytest once this package is installed."""

from __future__ import annotations

from typing import Iterator

import pytest

from . import Broker


@pytest.fixture(scope="session")
def ottla_broker() -> Iterator[Broker]:
    """A broker for the whole session: use topics and groups with names of your own."""
    with Broker() as broker:
        yield broker
