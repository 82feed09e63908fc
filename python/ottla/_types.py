"""What is plain data: named tuples and frozen dataclasses, and what the native half leaves to Python."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Generator, Iterator, Mapping, NamedTuple, Optional, Protocol, Sequence, Union

if TYPE_CHECKING:
    from ._ottla import Consumer, DeliveryFuture, Record, RecordBatch, RecordMetadata


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    """An offset as a group has committed it: that of the next record to be read."""

    offset: int
    metadata: str = ""
    leader_epoch: Optional[int] = None


class Token(NamedTuple):
    """A token that `oauth_cb` gives: a JWT says itself when it ends, and whose it is; of another, this does.

    `expires` is a `datetime`, or in seconds since 1970. `extensions` go to the broker with it.
    """

    value: str
    expires: Union[datetime, float, None] = None
    principal: Optional[str] = None
    extensions: Optional[Mapping[str, str]] = None

    def __repr__(self) -> str:
        return f"Token(expires={self.expires!r}, principal={self.principal!r})"


class TokenProvider(Protocol):
    """What kafka-python and aiokafka have for the same; `token` may be async."""

    def token(self) -> Any:
        """A token: as `oauth_cb` gives it."""


class NewTopic(NamedTuple):
    """A topic to be created; what is None is left to the broker."""

    name: str
    partitions: Optional[int] = None
    replication_factor: Optional[int] = None
    config: Optional[Mapping[str, Any]] = None


class PartitionDescription(NamedTuple):
    """A partition of a topic, and where its replicas are, by the brokers' ids."""

    partition: int
    leader: Optional[int]
    replicas: Sequence[int]
    in_sync: Sequence[int]


class TopicDescription(NamedTuple):
    """A topic and its partitions."""

    name: str
    id: str
    is_internal: bool
    partitions: Sequence[PartitionDescription]


class ConfigEntry(NamedTuple):
    """A key of a configuration. The value of a sensitive one is None."""

    name: str
    value: Optional[str]
    source: str
    is_read_only: bool
    is_sensitive: bool


class GroupListing(NamedTuple):
    """A group, as a list of all has it."""

    group_id: str
    state: Optional[str]
    type: Optional[str]
    protocol_type: str


class GroupMember(NamedTuple):
    """A member of a group."""

    member_id: str
    instance_id: Optional[str]
    client_id: str
    host: str
    assignment: Sequence[TopicPartition]


class GroupDescription(NamedTuple):
    """A group and its members."""

    group_id: str
    state: str
    type: str
    assignor: str
    coordinator: int
    members: Sequence[GroupMember]


class Broker(NamedTuple):
    """A broker of the cluster."""

    id: int
    host: str
    port: int
    rack: Optional[str]


class ClusterDescription(NamedTuple):
    """The cluster and its brokers."""

    cluster_id: str
    controller: Optional[int]
    brokers: Sequence[Broker]


@dataclass(frozen=True)
class OwnRecord:
    """A record with memory of its own, as `Record.detach()` gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: Any
    value: Any
    headers: Sequence[tuple[str, Optional[bytes]]]
    leader_epoch: Optional[int]

    @classmethod
    def of(cls, record: Record) -> OwnRecord:
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
            record.leader_epoch,
        )

    @property
    def datetime(self) -> Optional[datetime]:
        """The timestamp as a `datetime` in UTC; None for none."""
        return datetime_of(self.timestamp) if self.timestamp >= 0 else None


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def datetime_of(timestamp_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp_ms)


def batches(consumer: Consumer, max_records: int, timeout: Optional[float]) -> Iterator[RecordBatch]:
    while True:
        batch = consumer.next_batch(max_records, timeout)
        if batch is not None:
            yield batch
        elif timeout is not None:
            return


def await_delivery(delivery: DeliveryFuture) -> Generator[Any, None, RecordMetadata]:
    if not delivery.done():
        loop = asyncio.get_running_loop()
        told = loop.create_future()

        def tell() -> None:
            if not told.done():
                told.set_result(None)

        delivery.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))
        yield from told.__await__()
    return delivery.result()


def to_arrow(batch: RecordBatch) -> Any:
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError("`to_arrow` needs pyarrow: pip install 'ottla[arrow]'") from error
    columns = {
        "offset": pyarrow.array(batch.offsets(), pyarrow.int64()),
        "timestamp": pyarrow.array(batch.timestamps(), pyarrow.int64()).cast(pyarrow.timestamp("ms", "UTC")),
        "key": pyarrow.array(batch.keys(), pyarrow.binary()),
        "value": pyarrow.array(batch.values(), pyarrow.binary()),
    }
    return pyarrow.RecordBatch.from_pydict(columns)
