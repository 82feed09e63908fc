"""What happens to the process around: signals, forks, its end."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Callable

import pytest

import ottla
from ottla import errors
from ottla.testing import Broker

Name = Callable[[str], str]


def took_s(wait: Callable[[], object]) -> float:
    """How long Ctrl-C takes to end a wait."""
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        wait()
    return time.monotonic() - sent[0]


def test_ctrl_c_ends_every_wait_within_a_tenth_of_a_second(ottla_broker: Broker, name: Name) -> None:
    # A shell has those that it runs in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    servers = ottla_broker.bootstrap_servers
    # A producer whose records nobody takes.
    lost = ottla.Producer("localhost:1", buffer_memory=1 << 20, batch_size=1 << 20)
    with ottla.Consumer(servers) as consumer, ottla.Admin("localhost:1") as admin:
        waits: dict[str, Callable[[], object]] = {
            "for a record": lambda: consumer.poll(30),
            "for a batch": lambda: consumer.next_batch(timeout=30),
            "in a loop": lambda: next(consumer),
            "for a topic to be known": lambda: lost.send(name("lost"), "x"),
            "for a broker": lambda: admin.list_topics(),
        }
        for what, wait in waits.items():
            # A machine that is busy with something else may be slow once.
            assert min(took_s(wait) for _ in range(3)) < 0.1, what
    lost.close(0)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_an_asyncio_program_in_order(ottla_broker: Broker, name: Name) -> None:
    topic, group = name("interrupted"), name("group")
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        producer.send(topic, "x").result(10)
    program = f"""
        import asyncio, signal
        from ottla import aio

        # Those that a shell runs in the background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        async def main():
            async with aio.Consumer({ottla_broker.bootstrap_servers!r}, group={group!r}, topics=[{topic!r}],
                                    start="earliest") as consumer:
                async for record in consumer:
                    print(record.offset, flush=True)

        asyncio.run(main())
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None and running.stdout.readline() == b"0\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(10) != 0
    # It has left the group, so that the next has its partitions at once; what it had gone past is committed.
    with ottla.Consumer(ottla_broker.bootstrap_servers, group=group, topics=[topic], start="earliest") as consumer:
        assert consumer.committed([(topic, 0)])[ottla.TopicPartition(topic, 0)].offset == 1
        began = time.monotonic()
        while not consumer.assignment():
            consumer.poll(0.05)
        assert time.monotonic() - began < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_told_and_the_parent_goes_on(ottla_broker: Broker, name: Name) -> None:
    topic = name("forked")
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        producer.send(topic, "before").result(10)
        child = os.fork()
        if child == 0:
            try:
                producer.send(topic, "in the child")
            except errors.ForkedClientError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert producer.send(topic, "after").result(10).offset == 1


def test_what_was_sent_is_delivered_when_the_program_ends(ottla_broker: Broker, name: Name) -> None:
    topic = name("at-exit")
    program = f"""
        import ottla
        producer = ottla.Producer({ottla_broker.bootstrap_servers!r}, linger_ms=20000)
        producer.send({topic!r}, "nobody flushes")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with ottla.Consumer(ottla_broker.bootstrap_servers, start="earliest") as consumer:
        consumer.assign([(topic, 0)])
        record = consumer.poll(10)
        assert record is not None and record.value == b"nobody flushes"


def test_clients_cannot_be_pickled(ottla_broker: Broker) -> None:
    with ottla.Producer(ottla_broker.bootstrap_servers) as producer:
        with pytest.raises(TypeError, match="make one in each process"):
            pickle.dumps(producer)


def test_a_broker_ends_with_the_process_that_started_it() -> None:
    program = """
        import os, signal
        from ottla.testing import Broker
        broker = Broker()
        print(broker._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    pid, deadline = int(ended.stdout), time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.02)
    pytest.fail("the broker is still there")


def test_the_log_comes_by_loggers(caplog: pytest.LogCaptureFixture) -> None:
    from ottla import _log

    with caplog.at_level("INFO", logger="ottla"):
        _log.bridge()
        producer = ottla.Producer("localhost:1", acks="1")
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        producer.close(0)
    assert any(record.name.startswith("ottla") for record in caplog.records)
    _log.bridge()
