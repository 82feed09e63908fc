"""A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.

    python main.py localhost:9092 orders python 20000 20000
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

import ottla

UNDERWAY_MAX = 1_000
"""Orders that are on their way at once."""

servers, topic, name = sys.argv[1:4]
to_send, to_read = int(sys.argv[4]), int(sys.argv[5])


def say(what: str, count: int) -> None:
    """A line in one piece: two threads print."""
    print(f"{what} {count}\n", end="", flush=True)


def send() -> tuple[int, int]:
    count = checksum = 0
    with ottla.Producer(servers) as producer:
        while count < to_send:
            underway: list[ottla.DeliveryFuture] = []
            for number in range(count, min(to_send, count + UNDERWAY_MAX)):
                key = f"{name}-{number}"
                value = f"{key}: {number % 12 + 1} apples"
                underway.append(producer.send(topic, value, key=key))
                checksum += crc32(value.encode())
            for delivery in underway:
                delivery.result()
            count += len(underway)
            say("sent", count)
    return count, checksum


def read() -> tuple[int, int]:
    count = checksum = 0
    with ottla.Consumer(servers, group=name, topics=[topic], start="earliest") as consumer:
        while count < to_read:
            batch = consumer.next_batch(500)
            if batch is None:
                break
            for record in batch:
                count += 1
                checksum += crc32(record.value)
            say("read", count)
    return count, checksum


with ThreadPoolExecutor() as threads:
    sending, reading = threads.submit(send), threads.submit(read)
    print("total sent", *sending.result())
    print("total read", *reading.result())
