"""What programs do wrong, and what is done to them: no crash, no hang, no loss without an error."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from typing import Any, Callable

import pytest

import ottla
from ottla import TopicPartition, aio, errors
from ottla.testing import Broker

Name = Callable[[str], str]


def fill(broker: Broker, topic: str, count: int) -> None:
    with ottla.Producer(broker.bootstrap_servers) as producer:
        producer.send_batch(topic, [str(number) for number in range(count)]).result(10)


def test_a_closed_client_says_so_at_every_call(ottla_broker: Broker, name: Name) -> None:
    servers, topic = ottla_broker.bootstrap_servers, name("closed")
    fill(ottla_broker, topic, 1)
    producer = ottla.Producer(servers)
    producer.close()
    for call in (
        lambda: producer.send(topic, "x"),
        lambda: producer.send_nowait(topic, "x"),
        lambda: producer.send_batch(topic, ["x"]),
        lambda: producer.flush(5),
    ):
        with pytest.raises(errors.ClosedError):
            call()
    consumer = ottla.Consumer(servers, group=name("group"), start="earliest")
    consumer.close()
    for read in (consumer.poll, consumer.next_batch, consumer.try_next, lambda: consumer.commit({(topic, 0): 1})):
        with pytest.raises(errors.OttlaError):
            read()
    assert list(consumer) == []
    for client in (producer, consumer):
        client.close()


def test_records_outlive_their_batch_and_their_consumer(ottla_broker: Broker, name: Name) -> None:
    topic = name("kept")
    fill(ottla_broker, topic, 2000)
    kept: list[ottla.Record] = []
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])
        while len(kept) < 20:
            batch = consumer.next_batch(100, 10)
            assert batch is not None
            kept.append(batch[0])
            del batch
    del consumer
    gc.collect()
    assert [record.value for record in kept] == [str(record.offset).encode() for record in kept]
    own = kept[-1].detach()
    kept.clear()
    gc.collect()
    assert own.value == str(own.offset).encode()


def test_a_serializer_that_raises_fails_its_record_alone(ottla_broker: Broker, name: Name) -> None:
    topic = name("serialized")

    def picky(value: Any) -> bytes:
        if value == "bad":
            raise KeyError("why")
        return str(value).encode()

    with ottla.Producer(ottla_broker.bootstrap_servers, value_serializer=picky) as producer:
        with pytest.raises(errors.InvalidArgumentError, match=f"value of a record for `{topic}`") as raised:
            producer.send(topic, "bad")
        assert isinstance(raised.value.__cause__, KeyError)
        with pytest.raises(errors.InvalidArgumentError):
            producer.send_batch(topic, ["bad"])
        assert producer.send(topic, "good").result(10).offset == 0


def test_a_listener_that_raises_is_heard_and_the_group_goes_on(ottla_broker: Broker, name: Name) -> None:
    topic = name("raises")
    fill(ottla_broker, topic, 1)

    def assigned(*_: object) -> None:
        raise LookupError("as it should")

    with ottla.Consumer(
        ottla_broker.bootstrap_servers, group=name("group"), topics=[topic], start="earliest", on_assigned=assigned
    ) as consumer:
        with pytest.raises(LookupError):
            while consumer.poll(10) is None:
                pass
        record = consumer.poll(10)
        assert record is not None and record.value == b"0"


def test_threads_share_clients(ottla_broker: Broker, name: Name) -> None:
    topic, each = name("threads"), 500
    read: list[int] = []
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - told below
                failures.append(failure)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:

        def write() -> None:
            for future in [producer.send(topic, "x") for _ in range(each)]:
                future.result(30)

        for thread in [run(write) for _ in range(8)]:
            thread.join()
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])

        def take() -> None:
            while (batch := consumer.next_batch(50, 1)) is not None:
                read.extend(batch.offsets())

        for thread in [run(take) for _ in range(4)]:
            thread.join()
    assert failures == []
    assert sorted(read) == list(range(8 * each))


def child_sends(servers: str, topic: str) -> None:
    with ottla.Producer(servers) as producer:
        producer.send(topic, "of a child").result(20)
        # Those of its parent have a thread that the child does not have.
        told = threading.Event()
        producer.send(topic, "with a callback", on_delivery=lambda *_: told.set())
        assert told.wait(20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_makes_clients_of_its_own(ottla_broker: Broker, name: Name) -> None:
    servers, topic = ottla_broker.bootstrap_servers, name("children")
    with ottla.Producer(servers) as producer, ottla.Consumer(servers) as consumer:
        producer.send(topic, "of the parent", on_delivery=lambda *_: None).result(10)
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=child_sends, args=(servers, topic)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
            # Its end, too, must not wait for its parent's clients.
            assert child.exitcode == 0
        assert consumer.end_offsets([(topic, 0)]) == {TopicPartition(topic, 0): 7}


def test_an_asyncio_wait_for_records_is_woken(ottla_broker: Broker, name: Name) -> None:
    async def program() -> None:
        async with aio.Consumer(ottla_broker.bootstrap_servers) as consumer:
            threading.Timer(0.05, consumer.wake).start()
            assert await consumer.poll() is None
            # One wake ends one wait, the next if there is none.
            consumer.wake()
            await asyncio.sleep(0.01)
            assert await consumer.next_batch() is None
            assert await consumer.next_batch(timeout=0.01) is None

    asyncio.run(asyncio.wait_for(program(), 30))


def test_a_group_waits_for_coroutine_listeners(ottla_broker: Broker, name: Name) -> None:
    topic, group = name("coroutines"), name("group")
    fill(ottla_broker, topic, 3)
    told: list[str] = []

    async def program() -> None:
        is_ready = asyncio.Event()

        async def assigned(consumer: aio.Consumer, partitions: list[TopicPartition]) -> None:
            await is_ready.wait()
            told.append("assigned")
            consumer.seek(partitions[0], 1)

        async def revoked(*_: object) -> None:
            await asyncio.sleep(0)
            told.append("revoked")

        consumer = aio.Consumer(
            ottla_broker.bootstrap_servers,
            group=group,
            topics=[topic],
            start="earliest",
            on_assigned=assigned,
            on_revoked=revoked,
        )
        # Nothing comes before the listener has ended.
        assert await consumer.poll(0.5) is None
        is_ready.set()
        record = await consumer.poll(10)
        assert record is not None and record.offset == 1
        assert told == ["assigned"]
        await consumer.close()
        assert told == ["assigned", "revoked"]

    asyncio.run(asyncio.wait_for(program(), 60))


def test_a_task_that_is_cancelled_loses_no_records(ottla_broker: Broker, name: Name) -> None:
    topic = name("cancelled")

    async def program() -> None:
        servers = ottla_broker.bootstrap_servers
        async with aio.Producer(servers) as producer, aio.Consumer(servers, start="earliest") as consumer:
            await producer.send(topic, "first")
            consumer.assign({(topic, 0): 1})
            for _ in range(5):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(consumer.poll(), 0.02)
            await producer.send(topic, "second")
            record = await asyncio.wait_for(consumer.poll(), 10)
            assert record is not None and record.value == b"second"

    asyncio.run(program())
