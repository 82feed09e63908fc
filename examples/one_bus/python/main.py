"""Pricing: reads orders, and writes each again with what it costs. Several of these share the partitions.

    python main.py localhost:9092
"""

import signal
import sys
import threading
from types import FrameType
from zlib import crc32

import ottla

CENTS = {"apples": 39, "bananas": 25, "cherries": 4, "dates": 18, "figs": 55, "grapes": 3}
"""What a piece costs."""
POLL_TIMEOUT_S = 0.5
"""How long it waits for orders before it looks whether it is to end."""

ending = threading.Event()


def end(_signal: int, _frame: FrameType | None) -> None:
    ending.set()


class Tally:
    """What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order."""

    def __init__(self, what: str) -> None:
        self.what, self.count, self.checksum = what, 0, 0

    def add(self, value: bytes) -> None:
        self.count += 1
        self.checksum += crc32(value)

    def say(self) -> None:
        print(self.what, self.count, self.checksum, flush=True)


def priced(order: bytes) -> bytes:
    """`17 3 apples` costs 117 cents: `17 3 apples 117`."""
    _, pieces, fruit = order.decode().split()
    return b"%b %d" % (order, int(pieces) * CENTS[fruit])


def main(servers: str) -> None:
    signal.signal(signal.SIGTERM, end)
    read, wrote = Tally("read orders"), Tally("wrote priced")
    with (
        ottla.Producer(servers) as producer,
        ottla.Consumer(
            servers, group="pricing", topics=["orders"], start="earliest", enable_auto_commit=False
        ) as consumer,
    ):
        while not ending.is_set():
            batch = consumer.next_batch(500, timeout=POLL_TIMEOUT_S)
            if batch is None:
                continue
            sends: list[ottla.DeliveryFuture] = []
            for order in batch:
                value = priced(order.value)
                sends.append(producer.send("priced", value, key=order.key))
                read.add(order.value)
                wrote.add(value)
            for send in sends:
                send.result()
            # Only now: had it failed before, others would price these again.
            consumer.commit(batch)
            read.say()
            wrote.say()


main(sys.argv[1] if len(sys.argv) > 1 else "localhost:9092")
