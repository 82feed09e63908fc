"""Sends and reads many records, and prints after each part how much memory the process takes, in KiB.

    python endurance.py sync|aio BOOTSTRAP TOPIC RECORDS
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Callable

import ottla
from ottla import aio

# Parts after which the memory is looked at.
_PARTS = 40
# Records that are under way at once.
_ROUND = 5_000
_PATIENCE_S = 60.0


def resident_kib() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * (os.sysconf("SC_PAGESIZE") // 1024)


def value(number: int) -> bytes:
    return b"%0100d" % number


class Progress:
    """Checks that records come as they were sent, and prints the memory after each part."""

    def __init__(self, records: int) -> None:
        self.seen, self._part = 0, max(records // _PARTS, 1)
        self._printed = 0

    def take(self, got: bytes) -> None:
        assert got == value(self.seen), (got, self.seen)
        self.seen += 1

    def look(self) -> None:
        while self.seen >= (self._printed + 1) * self._part:
            self._printed += 1
            print(resident_kib(), flush=True)


def send(producer: ottla.Producer, topic: str, first: int, count: int, way: int) -> None:
    """In each of the ways in which records are sent, in turn."""
    numbers = range(first, first + count)
    if way == 0:
        futures = [producer.send(topic, value(number), headers={"way": b"future"}) for number in numbers]
        assert [future.result(_PATIENCE_S).offset for future in futures] == list(numbers)
    elif way == 1:
        for number in numbers:
            producer.send_nowait(topic, value(number), b"key")
        producer.flush(_PATIENCE_S)
    elif way == 2:
        told: list[int] = []
        tell: Callable[..., None] = lambda written, _: told.append(written.offset)
        for number in numbers:
            producer.send(topic, value(number), on_delivery=tell)
        producer.flush(_PATIENCE_S)
        assert told == list(numbers)
    else:
        producer.send_batch(topic, [value(number) for number in numbers]).result(_PATIENCE_S)


def read(consumer: ottla.Consumer, progress: Progress, until: int, way: int) -> None:
    while progress.seen < until:
        if way % 2 == 0:
            record = consumer.poll(_PATIENCE_S)
            assert record is not None
            progress.take(record.value)
            continue
        batch = consumer.next_batch(1000, _PATIENCE_S)
        assert batch is not None
        for got in batch.values():
            assert got is not None
            progress.take(got)


def run_sync(servers: str, topic: str, records: int) -> None:
    progress = Progress(records)
    with (
        ottla.Producer(servers, compression_type="lz4") as producer,
        ottla.Consumer(servers, start="earliest") as consumer,
    ):
        consumer.assign([(topic, 0)])
        for turn, first in enumerate(range(0, records, _ROUND)):
            count = min(_ROUND, records - first)
            send(producer, topic, first, count, turn % 4)
            read(consumer, progress, first + count, turn)
            progress.look()


async def run_aio(servers: str, topic: str, records: int) -> None:
    progress = Progress(records)
    async with (
        aio.Producer(servers, compression_type="lz4") as producer,
        aio.Consumer(servers, start="earliest") as consumer,
    ):
        consumer.assign([(topic, 0)])
        for turn, first in enumerate(range(0, records, _ROUND)):
            count = min(_ROUND, records - first)
            numbers = range(first, first + count)
            written = await asyncio.gather(*(producer.send(topic, value(number)) for number in numbers))
            assert [one.offset for one in written] == list(numbers)
            while progress.seen < first + count:
                if turn % 2 == 0:
                    record = await consumer.poll(_PATIENCE_S)
                    assert record is not None
                    progress.take(record.value)
                    continue
                batch = await consumer.next_batch(1000, _PATIENCE_S)
                assert batch is not None
                for got in batch.values():
                    assert got is not None
                    progress.take(got)
            progress.look()


if __name__ == "__main__":
    _, kind, servers, topic, records = sys.argv
    if kind == "sync":
        run_sync(servers, topic, int(records))
    else:
        asyncio.run(run_aio(servers, topic, int(records)))
