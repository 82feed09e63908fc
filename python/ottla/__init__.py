"""A client of Apache Kafka and its kin.

>>> import ottla
>>> with ottla.Producer("localhost:9092") as producer:
...     print(producer.send("orders", "two apples", key="42").result().offset)
>>> with ottla.Consumer("localhost:9092", group="billing", topics=["orders"], start="earliest") as consumer:
...     for record in consumer:
...         print(record.key, record.value)

Without a broker at hand, `ottla dev` in a terminal starts one; `ottla.testing.Broker` does for tests. `ottla.aio` has the same
for asyncio.
"""

from . import _lifecycle, _log, aio, errors, serde
from ._ottla import (
    Admin,
    BatchFuture,
    Consumer,
    DeliveryFuture,
    Producer,
    Record,
    RecordBatch,
    RecordMetadata,
    __version__,
)
from ._types import (
    Broker,
    ClusterDescription,
    ConfigEntry,
    GroupDescription,
    GroupListing,
    GroupMember,
    NewTopic,
    OffsetAndMetadata,
    OwnRecord,
    PartitionDescription,
    Token,
    TopicDescription,
    TopicPartition,
)
from .errors import KafkaError, OttlaError

__all__ = [
    "Admin",
    "BatchFuture",
    "Broker",
    "ClusterDescription",
    "ConfigEntry",
    "Consumer",
    "DeliveryFuture",
    "GroupDescription",
    "GroupListing",
    "GroupMember",
    "KafkaError",
    "NewTopic",
    "OffsetAndMetadata",
    "OttlaError",
    "OwnRecord",
    "PartitionDescription",
    "Producer",
    "Record",
    "RecordBatch",
    "RecordMetadata",
    "Token",
    "TopicDescription",
    "TopicPartition",
    "__version__",
    "aio",
    "errors",
    "serde",
]

_log.bridge()
_lifecycle.register()
