"""Reads a topic's partition from its beginning, until nothing has come for two seconds.

    python main.py localhost:9092 greetings
"""

import sys

import ottla

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
topic = sys.argv[2] if len(sys.argv) > 2 else "greetings"

with ottla.Consumer(address, start="earliest") as consumer:
    consumer.assign([(topic, 0)])
    while (record := consumer.poll(2)) is not None:
        print(f"{record.offset}: {record.value.decode()}")
