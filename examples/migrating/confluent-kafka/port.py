"""Invoices orders: reads orders in a group, writes an invoice for each, commits what is invoiced.

    python port.py localhost:9092 billing orders invoices rejected

An order that makes no sense goes to the topic of the rejected, with the reason in a header. SIGTERM and Ctrl-C end it: what is in hand
is invoiced and committed, and the group goes on without it at once.
"""

import json
import signal
import sys
from collections import Counter

import ottla

bootstrap, group, orders, invoices, rejected = sys.argv[1:]

is_running = True


def stop(*_: object) -> None:
    global is_running
    is_running = False
    consumer.wake()


def assigned(_: ottla.Consumer, partitions: list[ottla.TopicPartition]) -> None:
    print("assigned:", sorted(p.partition for p in partitions), flush=True)


def revoked(_: ottla.Consumer, partitions: list[ottla.TopicPartition]) -> None:
    print("revoked:", sorted(p.partition for p in partitions), flush=True)


def invoice(record: ottla.Record) -> str:
    order = json.loads(record.value)
    return json.dumps({"order": order["id"], "total": order["count"] * order["cents"]})


def send(record: ottla.Record) -> ottla.DeliveryFuture:
    try:
        return producer.send(invoices, invoice(record), record.key, headers=record.headers)
    except (ValueError, KeyError, TypeError) as why:
        headers = [*record.headers, ("reason", type(why).__name__)]
        return producer.send(rejected, record.value, record.key, headers=headers)


counts: Counter[str] = Counter()
with (
    ottla.Producer(bootstrap, compression_type="lz4") as producer,
    ottla.Consumer(
        bootstrap,
        group=group,
        topics=[orders],
        start="earliest",
        enable_auto_commit=False,
        session_timeout_ms=10000,
        on_assigned=assigned,
        on_revoked=revoked,
    ) as consumer,
):
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while is_running:
        batch = consumer.next_batch(100)
        if batch is None:
            continue
        # Raises what a broker refused; nothing of the batch is committed then.
        for delivery in [send(record) for record in batch]:
            counts[delivery.result().topic] += 1
        consumer.commit(batch)
        print(f"{sum(counts.values())} orders so far", flush=True)
print(f"{counts[invoices]} invoiced, {counts[rejected]} rejected")
