"""The same clients for asyncio: what takes time is awaited, and nothing holds up the loop.

>>> async with aio.Producer("localhost:9092") as producer:
...     metadata = await producer.send("orders", "two apples", key="42")
>>> async with aio.Consumer("localhost:9092", group="billing", topics=["orders"]) as consumer:
...     async for record in consumer:
...         await handle(record)

There is no thread pool: what ends in the native half wakes the loop once for all that has ended. Clients belong to the loop in
which they are made.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import Any, AsyncIterator, Iterable, Optional

from . import _ottla
from ._ottla import Record, RecordBatch, RecordMetadata
from .errors import ClosedError

__all__ = ["Admin", "Consumer", "Producer"]

# Each belongs to its loop, as its reader, and to the clients of the loop: it ends with them, and holds nothing here.
_sides: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_ottla.EventLoop]]" = weakref.WeakKeyDictionary()


def _event_loop() -> _ottla.EventLoop:
    """The native half's side of the running loop."""
    loop = asyncio.get_running_loop()
    known = _sides.get(loop)
    side = None if known is None else known()
    if side is None:
        side = _ottla.EventLoop(loop)
        loop.add_reader(side.fileno(), _drain, side)
        _sides[loop] = weakref.ref(side)
    return side


def _drain(side: _ottla.EventLoop) -> None:
    """Ends the futures of all that has gone well; the native half has ended those of what has not."""
    ended = iter(side.drain())
    for future, value in zip(ended, ended):
        # Somebody may have cancelled it.
        if not future.done():
            future.set_result(value)


class Producer(_ottla.Producer):
    """Sends records, in an asyncio program.

    >>> async with aio.Producer("localhost:9092", compression_type="zstd") as producer:
    ...     written = await producer.send("orders", "two apples", key="42")
    ...     print(written.offset)

    Settings are given as to `ottla.Producer`. Belongs to the loop in which it is made, and never holds it up. Leaving the block sends
    what was taken and waits for it, as `close()` does.
    """

    def __new__(cls, *args: Any, **options: Any) -> Producer:
        return super().__new__(cls, *args, _event_loop=_event_loop(), **options)

    async def send_batch(
        self, topic: str, values: Iterable[Any], keys: Optional[Iterable[Any]] = None, *, partition: Optional[int] = None
    ) -> list[RecordMetadata]:
        """Sends many values for a topic, each a record; `keys` are as many, or none."""
        of_keys = itertools.repeat(None) if keys is None else keys
        pairs = zip(values, of_keys)
        return await asyncio.gather(*(self.send(topic, value, key, partition=partition) for value, key in pairs))

    async def close(self, timeout: Optional[float] = None) -> None:
        """Sends what was taken, waits for it, and ends. What is not acknowledged within `timeout` seconds fails, and this raises.

        Records that still wait for room, or for their topic, are sent first; when the time is over, their futures raise `ClosedError`.
        Without a timeout `delivery.timeout.ms` and `max.block.ms` decide. Closing again does nothing.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        try:
            await asyncio.wait_for(self._caught_up(), timeout)
        except asyncio.TimeoutError:
            # Closing refuses those that are left, and tells them.
            pass
        await super().close(None if deadline is None else max(0.0, deadline - loop.time()))

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Consumer(_ottla.Consumer):
    """Reads records, in an asyncio program.

    >>> async with aio.Consumer("localhost:9092", group="billing", topics=["orders"], start="earliest") as consumer:
    ...     async for record in consumer:
    ...         print(record.offset, record.value)

    Settings are given as to `ottla.Consumer`. Belongs to the loop in which it is made; heartbeats and fetches do not need it. What is told
    of rebalances may be coroutine functions: the group waits until they have ended.
    """

    # Whoever waits for records, and whether the next who would is to have none.
    _waits: set[asyncio.Future[None]]
    _is_woken: bool
    _loop: asyncio.AbstractEventLoop

    def __new__(cls, *args: Any, **options: Any) -> Consumer:
        consumer = super().__new__(cls, *args, _event_loop=_event_loop(), **options)
        consumer._waits, consumer._is_woken, consumer._loop = set(), False, asyncio.get_running_loop()
        return consumer

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Record]:
        return self._records()

    async def _records(self) -> AsyncIterator[Record]:
        while True:
            try:
                record = self.try_next()
                while record is None:
                    await self.ready()
                    record = self.try_next()
            except ClosedError:
                return
            yield record

    async def poll(self, timeout: Optional[float] = None) -> Optional[Record]:
        """The next record; None if none comes within `timeout` seconds."""
        return await self._within(timeout, self.try_next)

    async def next_batch(self, max_records: int = 500, timeout: Optional[float] = None) -> Optional[RecordBatch]:
        """The next records of one partition, at most `max_records`; None if none come within `timeout` seconds."""
        return await self._within(timeout, lambda: self.try_next_batch(max_records))

    async def batches(self, max_records: int = 500, timeout: Optional[float] = None) -> AsyncIterator[RecordBatch]:
        """Goes through batches, for ever; with `timeout`, until none has come for so many seconds."""
        while True:
            batch = await self.next_batch(max_records, timeout)
            if batch is not None:
                yield batch
            elif timeout is not None:
                return

    def wake(self) -> None:
        """Ends a wait for records, now or the next, with None; from any thread."""
        self._loop.call_soon_threadsafe(self._end_waits)

    def _end_waits(self) -> None:
        self._is_woken = True
        for waiting in self._waits:
            if not waiting.done():
                waiting.set_result(None)

    async def _within(self, timeout: Optional[float], look: Any) -> Any:
        deadline = None if timeout is None else self._loop.time() + timeout
        while True:
            found = look()
            if found is not None:
                return found
            if self._is_woken:
                self._is_woken = False
                return None
            left = None if deadline is None else deadline - self._loop.time()
            if left is not None and left <= 0:
                return None
            waiting = self.ready()
            self._waits.add(waiting)
            try:
                await asyncio.wait_for(waiting, left)
            except asyncio.TimeoutError:
                return look()
            finally:
                self._waits.discard(waiting)


class Admin(_ottla.Admin):
    """Looks at a cluster and changes it, as `ottla.Admin` does; every call is awaited."""

    def __new__(cls, *args: Any, **options: Any) -> Admin:
        return super().__new__(cls, *args, _event_loop=_event_loop(), **options)

    async def __aenter__(self) -> Admin:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
