from __future__ import annotations

import threading
from typing import Any, Callable

import pytest

import ottla
from ottla import TopicPartition, errors
from ottla.testing import Broker

Name = Callable[[str], str]


def fill(broker: Broker, topic: str, count: int) -> None:
    """Writes records whose values are their numbers, as one batch. A producer with nothing under way sends what is there: if that was
    not all yet, the topic is made anew."""
    while True:
        with ottla.Producer(broker.bootstrap_servers) as producer:
            producer.send_batch(topic, [str(number) for number in range(count)]).result(10)
            if producer.metrics()["batch-send-total"] == 1:
                return
        with ottla.Admin(broker.bootstrap_servers) as admin:
            admin.delete_topics([topic])


def test_a_loop_commits_what_it_has_gone_past(ottla_broker: Broker, name: Name) -> None:
    topic, group = name("loop"), name("group")
    fill(ottla_broker, topic, 10)
    with ottla.Consumer(ottla_broker.bootstrap_servers, group=group, topics=[topic], start="earliest") as consumer:
        for record in consumer:
            if record.offset == 3:
                break
    with ottla.Consumer(ottla_broker.bootstrap_servers, group=group) as consumer:
        committed = consumer.committed([(topic, 0)])
    assert {tp: offset.offset for tp, offset in committed.items()} == {TopicPartition(topic, 0): 4}


def test_commits_are_of_records_batches_and_offsets(ottla_broker: Broker, name: Name) -> None:
    topic = name("commits")
    tp = TopicPartition(topic, 0)
    fill(ottla_broker, topic, 10)
    with ottla.Consumer(
        ottla_broker.bootstrap_servers,
        group=name("group"),
        topics=[topic],
        start="earliest",
        enable_auto_commit=False,
    ) as consumer:

        def committed() -> int:
            return consumer.committed([tp])[tp].offset

        first = next(consumer)
        consumer.commit(first)
        assert committed() == 1
        next(consumer)
        consumer.commit()
        assert committed() == 2
        batch = consumer.next_batch(timeout=10)
        assert batch is not None and [record.offset for record in batch] == list(range(2, 10))
        consumer.commit(batch)
        assert committed() == 10
        consumer.commit({tp: 5})
        assert committed() == 5


def test_a_batch_is_a_sequence_with_columns(ottla_broker: Broker, name: Name) -> None:
    topic = name("batch")
    fill(ottla_broker, topic, 5)
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign({(topic, 0): 1})
        batch = consumer.next_batch(timeout=10)
        assert batch is not None
        assert batch.values() == [b"1", b"2", b"3", b"4"] and batch.offsets() == [1, 2, 3, 4]
        assert batch.keys() == [None] * 4 and batch.next_offset == 5
        assert (batch[0].value, batch[-1].value, len(batch[1:3])) == (b"1", b"4", 2)
        with pytest.raises(IndexError):
            batch[4]
        table = batch.to_arrow()
        assert table.column("value").to_pylist() == batch.values()
        assert consumer.next_batch(timeout=0.05) is None
    # Records outlive their consumer.
    assert [record.value for record in batch] == batch.values()
    assert batch[0].detach().value == b"1"


def test_rebalances_are_told_on_the_programs_own_thread(ottla_broker: Broker, name: Name) -> None:
    topic, told = name("rebalances"), []
    fill(ottla_broker, topic, 1)

    def tell(kind: str) -> Callable[[ottla.Consumer, list[TopicPartition]], object]:
        return lambda _, partitions: told.append((kind, partitions, threading.get_ident()))

    consumer = ottla.Consumer(
        ottla_broker.bootstrap_servers,
        group=name("group"),
        topics=[topic],
        start="earliest",
        on_assigned=tell("assigned"),
        on_revoked=tell("revoked"),
    )
    assert next(consumer).value == b"0"
    consumer.close()
    mine = [TopicPartition(topic, 0)]
    assert told == [("assigned", mine, threading.get_ident()), ("revoked", mine, threading.get_ident())]


def test_another_thread_ends_a_wait_and_a_loop(ottla_broker: Broker, name: Name) -> None:
    topic = name("quiet")
    fill(ottla_broker, topic, 1)
    consumer = ottla.Consumer(ottla_broker.bootstrap_servers)
    consumer.assign({(topic, 0): 1})
    waker = threading.Timer(0.1, consumer.wake)
    waker.start()
    assert consumer.poll(30) is None
    closer = threading.Timer(0.1, consumer.close)
    closer.start()
    assert list(consumer) == []
    with pytest.raises(errors.ClosedError):
        consumer.poll(1)


def test_a_deserializer_that_fails_names_the_record(ottla_broker: Broker, name: Name) -> None:
    topic = name("damaged")
    fill(ottla_broker, topic, 1)
    with ottla.Consumer(
        ottla_broker.bootstrap_servers, start="earliest", value_deserializer=lambda _: 1 / 0
    ) as consumer:
        consumer.assign([(topic, 0)])
        record = consumer.poll(10)
        assert record is not None and record.key is None
        with pytest.raises(errors.CorruptError, match=f"offset 0 of `{topic}-0`") as raised:
            record.value
        assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_what_makes_no_sense_is_refused(ottla_broker: Broker, name: Name) -> None:
    servers = ottla_broker.bootstrap_servers
    with pytest.raises(TypeError, match="list of names"):
        ottla.Consumer(servers, group="g", topics="orders")
    with ottla.Consumer(servers) as consumer:
        with pytest.raises(errors.ConfigError, match="group.id"):
            consumer.subscribe([name("no-group")])
        with pytest.raises(errors.InvalidArgumentError, match="orders-0"):
            consumer.seek(("orders", 0), 0)
        with pytest.raises(ValueError, match="neither `earliest` nor `latest`"):
            consumer.seek(("orders", 0), "first")  # type: ignore[arg-type]
        unsuitable: Any = 5
        with pytest.raises(TypeError, match="a commit is of"):
            consumer.commit(unsuitable)
