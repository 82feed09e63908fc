from __future__ import annotations

import asyncio
from typing import Callable

import pytest

import ottla
from ottla import aio, errors
from ottla.testing import Broker

Name = Callable[[str], str]


def test_records_go_out_and_come_back(ottla_broker: Broker, name: Name) -> None:
    topic, servers = name("aio"), ottla_broker.bootstrap_servers

    async def program() -> list[int]:
        async with aio.Producer(servers) as producer:
            written = await asyncio.gather(*(producer.send(topic, str(number)) for number in range(1000)))
            assert [one.offset for one in written] == list(range(1000))
        offsets = []
        async with aio.Consumer(servers, group=name("group"), topics=[topic], start="earliest") as consumer:
            async for record in consumer:
                offsets.append(record.offset)
                if len(offsets) == 600:
                    break
            await consumer.commit()
            committed = await consumer.committed([(topic, 0)])
            assert committed[ottla.TopicPartition(topic, 0)].offset == 600
        return offsets

    assert asyncio.run(program()) == list(range(600))


def test_closing_sends_what_still_waits_for_its_turn(ottla_broker: Broker, name: Name) -> None:
    topic, servers = name("closing"), ottla_broker.bootstrap_servers

    async def program() -> list[int]:
        producer = aio.Producer(servers)
        # The topic's partitions are not known yet: all of them wait.
        sent = [producer.send(topic, str(number)) for number in range(100)]
        await producer.close()
        assert all(future.done() for future in sent)
        with pytest.raises(errors.ClosedError):
            await producer.send(topic, "too late")
        return [(await future).offset for future in sent]

    assert asyncio.run(program()) == list(range(100))


def test_what_waits_in_vain_is_refused_when_closing_has_no_more_time() -> None:
    async def program() -> None:
        producer = aio.Producer("localhost:1")
        sent = [producer.send("nowhere", str(number)) for number in range(3)]
        await producer.close(timeout=0.1)
        for future in sent:
            with pytest.raises(errors.ClosedError):
                await future

    asyncio.run(program())


def test_the_loop_goes_on_while_something_is_awaited(ottla_broker: Broker, name: Name) -> None:
    topic, servers = name("quiet"), ottla_broker.bootstrap_servers

    async def program() -> None:
        async with aio.Producer(servers) as producer, aio.Consumer(servers, start="earliest") as consumer:
            await producer.send(topic, "a")
            consumer.assign([(topic, 0)])
            assert await consumer.poll(10) is not None
            waiting = asyncio.create_task(consumer.poll(30))
            await asyncio.sleep(0)
            assert not waiting.done()
            await producer.send(topic, "b")
            record = await asyncio.wait_for(waiting, 10)
            assert record is not None and record.value == b"b"
            assert await consumer.next_batch(timeout=0.05) is None

    asyncio.run(program())


def test_a_future_that_was_cancelled_is_left_alone(ottla_broker: Broker, name: Name) -> None:
    topic, servers = name("cancelled"), ottla_broker.bootstrap_servers

    async def program() -> None:
        async with aio.Producer(servers, linger_ms=50) as producer:
            first = asyncio.ensure_future(producer.send(topic, "sent all the same"))
            first.cancel()
            assert (await producer.send(topic, "second")).offset == 1

    asyncio.run(program())


def test_failures_are_raised_where_they_are_awaited(ottla_broker: Broker, name: Name) -> None:
    servers = ottla_broker.bootstrap_servers

    async def program() -> None:
        async with aio.Admin(servers) as admin:
            with pytest.raises(errors.UnknownTopicOrPartitionError):
                await admin.describe_topics([name("missing")])
            outcomes = await admin.describe_topics(["missing"], return_exceptions=True)
            assert isinstance(outcomes["missing"], errors.UnknownTopicOrPartitionError)
        async with aio.Producer(servers) as producer:
            with pytest.raises(errors.InvalidArgumentError):
                await producer.send("not/legal", "x")

    asyncio.run(program())


def test_a_delivery_of_a_thread_can_be_awaited(ottla_broker: Broker, name: Name) -> None:
    async def program() -> int:
        with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
            return (await producer.send(name("mixed"), "x")).offset

    assert asyncio.run(program()) == 0
