"""Python's clients as loads: ours in each of its ways, confluent-kafka and aiokafka. `../README.md` says how a load and its driver talk."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any, Callable

# Records of one call, where a client takes several.
BATCH = 500
# Records whose futures are waited for together.
WINDOW = 20_000
VALUE_COUNT = 1_000


def job() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("verb")
    for name, default in [("bootstrap", ""), ("topic", ""), ("codec", "none"), ("group", "")]:
        parser.add_argument(f"--{name}", default=default)
    for name, number in [
        ("partitions", 6),
        ("records", 0),
        ("passes", 1),
        ("value-bytes", 100),
        ("batch-bytes", 128 * 1024),
        ("linger-ms", 5),
    ]:
        parser.add_argument(f"--{name}", type=int, default=number)
    return parser.parse_args()


def mark(line: str) -> None:
    print(line, flush=True)
    sys.stdin.readline()


def values(job: argparse.Namespace) -> list[bytes]:
    """Lines like a service's log: the same in every run."""
    lines = []
    for number in range(VALUE_COUNT):
        trace = (number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        line = f"{1_760_000_000_000 + 7 * number} INFO billing trace={trace:016x} GET /v1/orders/{trace % 999_983} "
        while len(line) < job.value_bytes:
            line += f"accepted v{trace % 97}={trace % 0xFFFFFF:08x} upstream cached "
            trace = (trace * 31 + 7) & 0xFFFFFFFFFFFFFFFF
        lines.append(line[: job.value_bytes].encode())
    return lines


def timed(job: argparse.Namespace, records: int, work: Callable[[], None]) -> None:
    mark("ready")
    began = time.monotonic()
    work()
    mark(json.dumps({"records": records, "wall_s": time.monotonic() - began}))


def assigned(job: argparse.Namespace) -> list[tuple[str, int]]:
    return [(job.topic, partition) for partition in range(job.partitions)]


# ---- ours


def ours(job: argparse.Namespace) -> dict[str, Any]:
    return {
        "bootstrap.servers": job.bootstrap,
        "linger.ms": job.linger_ms,
        "batch.size": job.batch_bytes,
        "compression.type": job.codec,
    }


def ottla_nowait_produce(job: argparse.Namespace) -> None:
    import ottla

    lines, topic = values(job), job.topic
    with ottla.Producer(ours(job)) as producer:
        producer.partition_count(topic)

        def work() -> None:
            send = producer.send_nowait
            for number in range(job.records):
                send(topic, lines[number % VALUE_COUNT])
            producer.flush()
            assert producer.metrics()["record-acknowledged-total"] == job.records

        timed(job, job.records, work)


def ottla_produce(job: argparse.Namespace) -> None:
    import ottla

    lines, topic = values(job), job.topic
    with ottla.Producer(ours(job)) as producer:
        producer.partition_count(topic)

        def work() -> None:
            for first in range(0, job.records, WINDOW):
                count = min(WINDOW, job.records - first)
                futures = [producer.send(topic, lines[number % VALUE_COUNT]) for number in range(count)]
                for future in futures:
                    future.result()

        timed(job, job.records, work)


def ottla_aio_produce(job: argparse.Namespace) -> None:
    from ottla import aio

    lines, topic = values(job), job.topic

    async def main() -> None:
        async with aio.Producer(ours(job)) as producer:
            await producer.partition_count(topic)
            mark("ready")
            began = time.monotonic()
            for first in range(0, job.records, WINDOW):
                count = min(WINDOW, job.records - first)
                await asyncio.gather(*[producer.send(topic, lines[number % VALUE_COUNT]) for number in range(count)])
            mark(json.dumps({"records": job.records, "wall_s": time.monotonic() - began}))

    asyncio.run(main())


def ottla_consume(job: argparse.Namespace) -> None:
    import ottla

    def work() -> None:
        for _ in range(job.passes):
            with ottla.Consumer(job.bootstrap, start="earliest") as consumer:
                consumer.assign(assigned(job))
                read = 0
                for record in consumer:
                    assert len(record.value) == job.value_bytes
                    read += 1
                    if read == job.records:
                        break

    timed(job, job.records * job.passes, work)


def ottla_nowait_consume(job: argparse.Namespace) -> None:
    import ottla

    def work() -> None:
        for _ in range(job.passes):
            with ottla.Consumer(job.bootstrap, start="earliest") as consumer:
                consumer.assign(assigned(job))
                read = 0
                while read < job.records:
                    batch = consumer.next_batch(5000)
                    for value in batch.values():
                        assert len(value) == job.value_bytes
                    read += len(batch)

    timed(job, job.records * job.passes, work)


def ottla_aio_consume(job: argparse.Namespace) -> None:
    from ottla import aio

    async def main() -> None:
        mark("ready")
        began = time.monotonic()
        for _ in range(job.passes):
            async with aio.Consumer(job.bootstrap, start="earliest") as consumer:
                consumer.assign(assigned(job))
                read = 0
                async for record in consumer:
                    assert len(record.value) == job.value_bytes
                    read += 1
                    if read == job.records:
                        break
        mark(json.dumps({"records": job.records * job.passes, "wall_s": time.monotonic() - began}))

    asyncio.run(main())


# ---- peers


def confluent_kafka_produce(job: argparse.Namespace) -> None:
    from confluent_kafka import Producer

    lines, topic = values(job), job.topic
    producer = Producer({**ours(job), "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000})
    producer.list_topics(topic)

    def work() -> None:
        for number in range(job.records):
            while True:
                try:
                    producer.produce(topic, lines[number % VALUE_COUNT])
                    break
                except BufferError:
                    producer.poll(0.01)
            if number % BATCH == 0:
                producer.poll(0)
        assert producer.flush() == 0

    timed(job, job.records, work)


def confluent_kafka_consume(job: argparse.Namespace) -> None:
    from confluent_kafka import Consumer, TopicPartition

    def work() -> None:
        for _ in range(job.passes):
            consumer = Consumer(
                {"bootstrap.servers": job.bootstrap, "group.id": "bench", "enable.auto.commit": False}
            )
            consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in assigned(job)])
            read = 0
            while read < job.records:
                for message in consumer.consume(BATCH, 1.0):
                    assert len(message.value()) == job.value_bytes
                    read += 1
            consumer.close()

    timed(job, job.records * job.passes, work)


def aiokafka_produce(job: argparse.Namespace) -> None:
    from aiokafka import AIOKafkaProducer

    lines, topic = values(job), job.topic

    async def main() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=job.bootstrap,
            enable_idempotence=True,
            linger_ms=job.linger_ms,
            max_batch_size=job.batch_bytes,
            compression_type=None if job.codec == "none" else job.codec,
        )
        await producer.start()
        await producer.partitions_for(topic)
        mark("ready")
        began = time.monotonic()
        for first in range(0, job.records, WINDOW):
            count = min(WINDOW, job.records - first)
            sent = [await producer.send(topic, lines[number % VALUE_COUNT]) for number in range(count)]
            await asyncio.gather(*sent)
        mark(json.dumps({"records": job.records, "wall_s": time.monotonic() - began}))
        await producer.stop()

    asyncio.run(main())


def aiokafka_consume(job: argparse.Namespace) -> None:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def main() -> None:
        mark("ready")
        began = time.monotonic()
        for _ in range(job.passes):
            consumer = AIOKafkaConsumer(bootstrap_servers=job.bootstrap, auto_offset_reset="earliest")
            await consumer.start()
            consumer.assign([TopicPartition(*place) for place in assigned(job)])
            read = 0
            while read < job.records:
                for batch in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values():
                    for record in batch:
                        assert len(record.value) == job.value_bytes
                    read += len(batch)
            await consumer.stop()
        mark(json.dumps({"records": job.records * job.passes, "wall_s": time.monotonic() - began}))

    asyncio.run(main())


if __name__ == "__main__":
    wanted = job()
    globals()[f"{wanted.client.replace('-', '_')}_{wanted.verb}"](wanted)
