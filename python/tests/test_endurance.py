"""Many records, many clients: what they take they give back.

`OTTLA_ENDURANCE_RECORDS` says how many records go through each client (200,000; the full form is 10,000,000), `OTTLA_TEST_CYCLES`
how many clients are opened and closed (1,000).
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

import ottla
from ottla import aio
from ottla.testing import Broker

from endurance import resident_kib

Name = Callable[[str], str]

_RECORDS = int(os.environ.get("OTTLA_ENDURANCE_RECORDS", "200000"))
_CYCLES = int(os.environ.get("OTTLA_TEST_CYCLES", "1000"))
# Most that the memory may have grown by, along the line that fits it best once it is warm.
_GROWTH_KIB_MAX = 16 * 1024
# The part of a run in which buffers and caches come to their size.
_WARM_UP = 0.3
_THREADS_PATIENCE_S = 20.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to look at")


def growth_kib(samples: list[int]) -> float:
    """How much the samples rise from the first to the last, by the straight line that fits them best."""
    middle, mean = (len(samples) - 1) / 2, sum(samples) / len(samples)
    run = sum((at - middle) ** 2 for at in range(len(samples)))
    slope = sum((at - middle) * (sample - mean) for at, sample in enumerate(samples)) / run
    return slope * (len(samples) - 1)


def test_the_line_that_fits_tells_growth() -> None:
    assert growth_kib([5, 5, 5, 5]) == 0
    assert growth_kib([0, 10, 20, 30]) == 30
    assert growth_kib([0, 100, 0, 100]) < 100


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_memory_stays_flat_over_many_records(kind: str, ottla_broker: Broker, name: Name) -> None:
    program = str(Path(__file__).with_name("endurance.py"))
    servers, began = ottla_broker.bootstrap_servers, time.monotonic()
    ended = subprocess.run(
        [sys.executable, program, kind, servers, name("endurance"), str(_RECORDS)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    samples = [int(line) for line in ended.stdout.split()]
    assert len(samples) >= 20
    warm = samples[int(len(samples) * _WARM_UP) :]
    grown = growth_kib(warm)
    print(f"{kind}: {_RECORDS} records in {time.monotonic() - began:.1f} s, {warm[0]} to {warm[-1]} KiB: {grown:+.0f}")
    assert grown < _GROWTH_KIB_MAX, samples


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_and_close(servers: str) -> None:
    ottla.Producer(servers).close()
    ottla.Consumer(servers).close()


def open_and_close_for_asyncio(servers: str) -> None:
    async def program() -> None:
        async with aio.Producer(servers), aio.Consumer(servers, group="cycles", on_revoked=lambda *_: None):
            pass

    asyncio.run(program())


@pytest.mark.parametrize("cycle", [open_and_close, open_and_close_for_asyncio])
def test_clients_that_come_and_go_leave_nothing(cycle: Callable[[str], None], ottla_broker: Broker) -> None:
    servers = ottla_broker.bootstrap_servers
    for _ in range(max(_CYCLES // 4, 1)):
        cycle(servers)
    gc.collect()
    warm = resident_kib()
    threads_before, descriptors_before = threads(), descriptors()
    for _ in range(_CYCLES - _CYCLES // 4):
        cycle(servers)
    gc.collect()
    deadline = time.monotonic() + _THREADS_PATIENCE_S
    # Threads end a moment after their client.
    while threads() > threads_before or descriptors() > descriptors_before:
        assert time.monotonic() < deadline, (threads(), threads_before, descriptors(), descriptors_before)
        time.sleep(0.01)
    if _CYCLES >= 1000:
        assert resident_kib() - warm < 8 * 1024


def test_a_hundred_clients_in_one_process(ottla_broker: Broker, name: Name) -> None:
    servers, topic = ottla_broker.bootstrap_servers, name("hundred")
    producers = [ottla.Producer(servers) for _ in range(50)]
    futures = [producer.send(topic, str(number)) for number, producer in enumerate(producers)]
    assert sorted(future.result(30).offset for future in futures) == list(range(50))
    consumers = [ottla.Consumer(servers) for _ in range(50)]
    for number, consumer in enumerate(consumers):
        consumer.assign({(topic, 0): number})
    offsets = []
    for consumer in consumers:
        record = consumer.poll(30)
        assert record is not None
        offsets.append(record.offset)
    assert offsets == list(range(50))
    for producer in producers:
        producer.close()
    for consumer in consumers:
        consumer.close()
