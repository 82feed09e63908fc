"""Invoices orders, with confluent-kafka: reads orders in a group, writes an invoice for each, commits what is invoiced.

    python original.py localhost:9092 billing orders invoices rejected

An order that makes no sense goes to the topic of the rejected, with the reason in a header. SIGTERM and Ctrl-C end it: what is in hand
is invoiced and committed, and the group goes on without it at once.
"""

import json
import signal
import sys
from collections import Counter

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

bootstrap, group, orders, invoices, rejected = sys.argv[1:]

is_running = True


def stop(*_):
    global is_running
    is_running = False


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)

consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 10000,
        "partition.assignment.strategy": "cooperative-sticky",
    }
)
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1000,
    }
)
failures = []
counts = Counter()


def delivered(error, message):
    if error is not None:
        failures.append(error)
    else:
        counts[message.topic()] += 1


def send(topic, value, key, headers):
    while True:
        try:
            producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
            break
        except BufferError:
            # The queue is full: deliveries make room.
            producer.poll(0.1)
    producer.poll(0)


def invoice(message):
    order = json.loads(message.value())
    return json.dumps({"order": order["id"], "total": order["count"] * order["cents"]})


def assigned(_, partitions):
    print("assigned:", sorted(p.partition for p in partitions), flush=True)


def revoked(_, partitions):
    print("revoked:", sorted(p.partition for p in partitions), flush=True)


consumer.subscribe([orders], on_assign=assigned, on_revoke=revoked)
try:
    while is_running:
        messages = consumer.consume(num_messages=100, timeout=0.5)
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            headers = message.headers() or []
            try:
                send(invoices, invoice(message), message.key(), headers)
            except (ValueError, KeyError, TypeError) as why:
                send(rejected, message.value(), message.key(), headers + [("reason", type(why).__name__)])
        if messages:
            left = producer.flush(30)
            if left > 0 or failures:
                raise KafkaException(failures[0] if failures else KafkaError(KafkaError._TIMED_OUT))
            consumer.commit(asynchronous=False)
            print(f"{sum(counts.values())} orders so far", flush=True)
finally:
    consumer.close()
print(f"{counts[invoices]} invoiced, {counts[rejected]} rejected")
