"""Writes a few records and says where they are.

    python main.py localhost:9092 greetings
"""

import sys

import ottla

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
topic = sys.argv[2] if len(sys.argv) > 2 else "greetings"

with ottla.Producer(address) as producer:
    futures = [
        producer.send(topic, f"hello, {name}", key=name, headers={"language": "python"})
        for name in ("Ada", "Grace", "Barbara")
    ]
    for future in futures:
        written = future.result(10)
        print(f"written to {written.topic}-{written.partition} at offset {written.offset}")
