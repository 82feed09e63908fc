"""Keeps totals: reads payments in a group, and writes for each what its customer has paid by then.

    python port.py localhost:9092 totals payments totals

Commits what is written, partition by partition. SIGTERM and Ctrl-C end it: what is in hand is written and committed first.
"""

import asyncio
import signal
import sys
from collections import defaultdict

import ottla
from ottla import aio
from ottla.errors import CommitFailedError

bootstrap, group, payments, totals = sys.argv[1:]


class Ledger:
    """What customers have paid, by partition: whoever loses a partition forgets its customers."""

    def __init__(self) -> None:
        self.paid: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def assigned(self, _: aio.Consumer, partitions: list[ottla.TopicPartition]) -> None:
        print("assigned:", sorted(tp.partition for tp in partitions), flush=True)

    def revoked(self, _: aio.Consumer, partitions: list[ottla.TopicPartition]) -> None:
        for tp in partitions:
            self.paid.pop(tp.partition, None)


async def main() -> None:
    ledger, done, is_running = Ledger(), 0, True
    async with (
        aio.Producer(bootstrap, compression_type="gzip") as producer,
        aio.Consumer(
            bootstrap,
            group=group,
            topics=[payments],
            start="earliest",
            enable_auto_commit=False,
            session_timeout_ms=10000,
            key_deserializer=bytes.decode,
            value_deserializer=int,
            on_assigned=ledger.assigned,
            on_revoked=ledger.revoked,
        ) as consumer,
    ):

        def stop() -> None:
            nonlocal is_running
            is_running = False
            consumer.wake()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)

        while is_running:
            batch = await consumer.next_batch(100)
            if batch is None:
                continue
            paid = ledger.paid[batch.partition]
            sent: list[asyncio.Future[ottla.RecordMetadata]] = []
            for record in batch:
                paid[record.key] += record.value
                sent.append(producer.send(totals, str(paid[record.key]), record.key))
            await asyncio.gather(*sent)
            try:
                await consumer.commit(batch)
            except CommitFailedError:
                # Others have the partition by now, and write its totals again.
                continue
            done += len(batch)
            print(f"{done} payments so far", flush=True)
    print(f"{done} payments")


try:
    asyncio.run(main())
except ottla.OttlaError as error:
    print(f"cannot go on: {error}", file=sys.stderr)
    sys.exit(1)
