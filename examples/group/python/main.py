"""A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.

    python main.py localhost:9092 greetings
"""

import sys

import ottla

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
topic = sys.argv[2] if len(sys.argv) > 2 else "greetings"


def assigned(_: ottla.Consumer, partitions: list[ottla.TopicPartition]) -> None:
    for name, partition in partitions:
        print(f"assigned: {name}-{partition}")


with ottla.Consumer(
    address,
    group=topic,
    topics=[topic],
    start="earliest",
    enable_auto_commit=False,
    on_assigned=assigned,
) as consumer:
    batch = consumer.next_batch(500, timeout=10)
    if batch is not None:
        for record in batch:
            print(record.value.decode())
        consumer.commit(batch)
