"""The installed wheel works: its own broker takes a record and gives it back.

With arguments, each is a program that is run with that broker's address and the topic's name behind it.
"""

import subprocess
import sys

import ottla
from ottla.testing import Broker

with Broker() as broker:
    with ottla.Producer(broker.bootstrap_servers) as producer:
        written = producer.send("smoke", "two apples", key="42").result(30)
    with ottla.Consumer(broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([("smoke", 0)])
        record = consumer.poll(30)
    assert record is not None and (record.key, record.value) == (b"42", b"two apples"), record
    print(f"Python: offset {written.offset} read back")
    for program in sys.argv[1:]:
        subprocess.run([program, broker.bootstrap_servers, "smoke"], check=True, timeout=60)
