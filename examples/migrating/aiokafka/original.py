"""Keeps totals, with aiokafka: reads payments in a group, and writes for each what its customer has paid by then.

    python original.py localhost:9092 totals payments totals

Commits what is written, partition by partition. SIGTERM and Ctrl-C end it: what is in hand is written and committed first.
"""

import asyncio
import signal
import sys
from collections import defaultdict

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

bootstrap, group, payments, totals = sys.argv[1:]


class Ledger(ConsumerRebalanceListener):
    """What customers have paid, by partition: whoever loses a partition forgets its customers."""

    def __init__(self):
        self.paid = defaultdict(lambda: defaultdict(int))

    async def on_partitions_assigned(self, assigned):
        print("assigned:", sorted(tp.partition for tp in assigned), flush=True)

    async def on_partitions_revoked(self, revoked):
        for tp in revoked:
            self.paid.pop(tp.partition, None)


async def main():
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    ledger, done = Ledger(), 0
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5, compression_type="gzip"
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=10000,
        key_deserializer=bytes.decode,
        value_deserializer=int,
    )
    consumer.subscribe([payments], listener=ledger)
    await producer.start()
    try:
        await consumer.start()
        try:
            while not stopped.is_set():
                by_partition = await consumer.getmany(timeout_ms=500, max_records=100)
                for tp, messages in by_partition.items():
                    sent = []
                    for message in messages:
                        paid = ledger.paid[tp.partition]
                        paid[message.key] += message.value
                        value = str(paid[message.key]).encode()
                        sent.append(await producer.send(totals, value, message.key.encode()))
                    await asyncio.gather(*sent)
                    try:
                        await consumer.commit({TopicPartition(tp.topic, tp.partition): messages[-1].offset + 1})
                    except CommitFailedError:
                        # Others have the partition by now, and write its totals again.
                        continue
                    done += len(messages)
                    print(f"{done} payments so far", flush=True)
        finally:
            await consumer.stop()
    except KafkaError as error:
        print(f"cannot go on: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        await producer.stop()
    print(f"{done} payments")


asyncio.run(main())
