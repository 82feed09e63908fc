from __future__ import annotations

import pydoc
import threading
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

import pytest

import ottla
from ottla import errors
from ottla.testing import Broker

Name = Callable[[str], str]


def test_a_record_is_sent_and_its_future_tells_where(ottla_broker: Broker, name: Name) -> None:
    topic = name("orders")
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        future = producer.send(topic, "two apples", key=b"42", headers={"trace": b"7f3a", "empty": None})
        written = future.result(10)
        assert (written.topic, written.partition, written.offset) == (topic, 0, 0)
        assert future.done() and future.exception() is None and not future.cancel()
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])
        record = consumer.poll(10)
        assert record is not None
        assert (record.key, record.value) == (b"42", b"two apples")
        assert record.headers == [("trace", b"7f3a"), ("empty", None)]


def test_payloads_are_bytes_text_buffers_or_none(ottla_broker: Broker, name: Name) -> None:
    topic = name("payloads")
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        for value in (b"a", "größe", bytearray(b"c"), memoryview(b"d"), None, b""):
            producer.send(topic, value)
        unsuitable: Any = 5
        with pytest.raises(TypeError, match="value_serializer"):
            producer.send(topic, unsuitable)
        with pytest.raises(TypeError, match="topic is a str"):
            producer.send(b"orders", b"x")  # type: ignore[arg-type]
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])
        values = [value_of(consumer) for _ in range(6)]
    assert values == [b"a", "größe".encode(), b"c", b"d", None, b""]


def value_of(consumer: ottla.Consumer) -> Any:
    record = consumer.poll(10)
    assert record is not None
    return record.value


def test_callbacks_come_before_flush_returns(ottla_broker: Broker, name: Name) -> None:
    topic = name("callbacks")
    told: list[tuple[Any, Any]] = []
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        for number in range(100):
            producer.send(topic, str(number), on_delivery=lambda written, error: told.append((written, error)))
        producer.flush(10)
        assert [written.offset for written, _ in told] == list(range(100))
        assert all(error is None for _, error in told)


def test_a_callback_that_raises_harms_nobody(
    ottla_broker: Broker, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        producer.send(name("raises"), "x", on_delivery=lambda *_: 1 / 0)
        producer.flush(10)
        assert isinstance(raised[0].exc_value, ZeroDivisionError)
        assert producer.send(name("raises"), "y").result(10).offset == 0


def test_done_callbacks_are_as_in_concurrent_futures(ottla_broker: Broker, name: Name) -> None:
    told = threading.Event()
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        future = producer.send(name("done"), "x")
        future.add_done_callback(lambda same: told.set() if same is future else None)
        assert told.wait(10)


def test_many_in_one_call(ottla_broker: Broker, name: Name) -> None:
    topic = name("many")
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        written = producer.send_batch(topic, [b"a", "b", None], keys=["1", "2", "3"]).result(10)
        assert [one.offset for one in written] == [0, 1, 2]
        with pytest.raises(ValueError, match="fewer keys"):
            producer.send_batch(topic, [b"a", b"b"], keys=["1"])


def test_serializers_make_bytes_and_their_failure_names_the_topic(ottla_broker: Broker, name: Name) -> None:
    topic = name("typed")
    with ottla.Producer(ottla_broker.bootstrap_servers, value_serializer=ottla.serde.json) as producer:
        producer.send(topic, {"fruit": "apple"}).result(10)
        with pytest.raises(errors.InvalidArgumentError, match=topic) as raised:
            producer.send(topic, object())
        assert isinstance(raised.value.__cause__, TypeError)
    with ottla.Consumer(
        ottla_broker.bootstrap_servers, start="earliest", value_deserializer=ottla.serde.from_json
    ) as consumer:
        consumer.assign([(topic, 0)])
        record = consumer.poll(10)
        assert record is not None and record.value == {"fruit": "apple"}
        assert record.value is record.value


def test_a_timestamp_is_a_number_or_a_datetime(ottla_broker: Broker, name: Name) -> None:
    topic, when = name("times"), datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        assert producer.send(topic, "a", timestamp=when).result(10).timestamp == 1767323045678
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])
        record = consumer.poll(10)
        assert record is not None and record.datetime == when


def test_help_shows_what_a_program_may_give_and_nothing_else() -> None:
    for client in (ottla.Producer, ottla.Consumer, ottla.Admin):
        shown = pydoc.plain(pydoc.render_doc(client))
        assert f"class {client.__name__}" in shown and "bootstrap_servers=None" in shown
        assert "event_loop" not in shown
        with pytest.raises(errors.ConfigError, match="_event_loop"):
            client("localhost:1", _event_loop="this is no setting")


def test_settings_come_in_either_style_and_are_checked() -> None:
    servers = "localhost:1"
    ottla.Producer({"bootstrap.servers": servers, "linger.ms": 5, "compression.type": "zstd"}).close(0)
    ottla.Producer([servers], linger=timedelta(milliseconds=5), enable_idempotence=False).close(0)
    with pytest.raises(errors.ConfigError, match="did you mean `linger_ms`"):
        ottla.Producer(servers, linger_sm=5)
    with pytest.raises(TypeError, match="given twice"):
        ottla.Producer(servers, {"linger.ms": 5}, linger_ms=6)
    with pytest.raises(errors.ConfigError, match="bootstrap.servers"):
        ottla.Producer()
    with pytest.raises(errors.ConfigError, match="which `enable.idempotence=true` needs"):
        ottla.Producer(servers, acks=1, enable_idempotence=True)


def test_what_fails_has_a_class_of_its_own(ottla_broker: Broker, name: Name) -> None:
    topic = name("small")
    with ottla.Admin(ottla_broker.bootstrap_servers) as admin:
        admin.create_topics([ottla.NewTopic(topic, config={"max.message.bytes": 1000})])
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        with pytest.raises(errors.MessageTooLargeError) as raised:
            producer.send(topic, b"x" * 5000).result(10)
        assert (raised.value.code, raised.value.name, raised.value.retriable) == (10, "MESSAGE_TOO_LARGE", False)
        assert raised.value.hint and isinstance(raised.value, ottla.KafkaError)


def test_a_closed_producer_says_so(ottla_broker: Broker, name: Name) -> None:
    producer = ottla.Producer(ottla_broker.bootstrap_servers)
    producer.close()
    producer.close()
    with pytest.raises(errors.ClosedError):
        producer.send(name("closed"), "x")
