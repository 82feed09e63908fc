"""The runner of Python: the package `ottla`, as a program would use it."""

from __future__ import annotations

import sys
import time
from typing import Any, Callable, Iterator, Optional
from urllib.parse import quote_from_bytes, unquote_to_bytes

import ottla
from ottla import NewTopic, TopicPartition

# How long is waited where a step does not say.
PATIENCE_MS = 30_000
LOOK_INTERVAL_S = 0.01


class UnknownVerb(Exception):
    pass


class Step:
    """A line: a verb and pairs."""

    def __init__(self, text: str) -> None:
        self.verb, *pairs = text.rstrip("\n").split(" ")
        split = (pair.partition("=") for pair in pairs if pair)
        self.pairs = {unquote_to_bytes(name).decode(): unquote_to_bytes(value) for name, _, value in split}

    def text(self, name: str) -> Optional[str]:
        value = self.pairs.get(name)
        return None if value is None else value.decode()

    def need(self, name: str) -> str:
        return self.pairs[name].decode()

    def number(self, name: str, default: Any = None) -> Any:
        value = self.pairs.get(name)
        return default if value is None else int(value)

    def prefixed(self, prefix: str) -> dict[str, str]:
        found = ((name, value) for name, value in self.pairs.items() if name.startswith(prefix))
        return {name[len(prefix) :]: value.decode() for name, value in found}

    def partition(self) -> TopicPartition:
        return partition_at(self.need("partition"))[0]

    def partitions(self) -> list[TopicPartition]:
        return [partition_at(text)[0] for text in self.need("partitions").split(",")]

    def patience_s(self) -> float:
        return self.number("timeout_ms", PATIENCE_MS) / 1000

    def headers(self) -> list[tuple[str, Optional[bytes]]]:
        headers = []
        for name, header in self.pairs.items():
            if name.startswith("header."):
                key, colon, value = header.decode().partition(":")
                headers.append((unquote_to_bytes(key).decode(), unquote_to_bytes(value) if colon else None))
        return headers


def partition_at(text: str) -> tuple[TopicPartition, Optional[int]]:
    """`orders-0`, or `orders-0@5`."""
    place, _, offset = text.partition("@")
    topic, _, number = place.rpartition("-")
    return TopicPartition(topic, int(number)), int(offset) if offset else None


def line(word: str, pairs: dict[str, Any]) -> str:
    parts = [word]
    for name, value in pairs.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = str(value).lower()
        data = value if isinstance(value, bytes) else str(value).encode()
        parts.append(f"{name}={quote_from_bytes(data, safe='')}")
    return " ".join(parts)


def told(record: Any) -> str:
    pairs = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": record.key,
        "value": record.value,
    }
    for number, (name, value) in enumerate(record.headers):
        text = quote_from_bytes(name.encode(), safe="-_.")
        if value is not None:
            text += ":" + quote_from_bytes(value, safe="-_.")
        pairs[f"header.{number}"] = text
    return line("record", pairs)


def refused(error: Exception) -> str:
    if isinstance(error, ottla.OttlaError):
        pairs = {"name": error.name, "code": error.code, "retriable": error.retriable, "fatal": error.fatal}
    else:
        pairs = {"name": "UNKNOWN_VERB" if isinstance(error, UnknownVerb) else "RUNNER"}
    return line("error", {**pairs, "message": f"{error}"})


def until(patience_s: float, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + patience_s
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            raise TimeoutError("it did not come about")
        time.sleep(LOOK_INTERVAL_S)


class Runner:
    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.later: dict[str, list[Any]] = {}

    def step(self, step: Step) -> Iterator[str]:
        name = step.need("client")
        makers = {"producer": ottla.Producer, "consumer": ottla.Consumer, "admin": ottla.Admin}
        if step.verb in makers:
            self.clients[name] = makers[step.verb](step.prefixed("set."))
            self.later[name] = []
            yield line("ok", {})
            return
        client = self.clients[name]
        if isinstance(client, ottla.Producer):
            yield line("ok", self.produce(client, self.later[name], step))
        elif isinstance(client, ottla.Consumer):
            yield from self.consume(client, step)
        else:
            yield line("ok", self.administer(client, step))

    def produce(self, producer: ottla.Producer, later: list[Any], step: Step) -> dict[str, Any]:
        if step.verb in ("send", "send_later"):
            future = producer.send(
                step.need("topic"),
                step.pairs.get("value"),
                step.pairs.get("key"),
                headers=step.headers(),
                partition=step.number("partition"),
                timestamp=step.number("timestamp"),
            )
            if step.verb == "send_later":
                later.append(future)
                return {}
            written = future.result()
            return {"partition": written.partition, "offset": written.offset, "timestamp": written.timestamp}
        if step.verb == "send_many":
            count, keys, size = step.number("count", 0), step.number("keys", 0), step.number("value_bytes", 0)
            futures = [
                producer.send(
                    step.need("topic"),
                    f"{number:010}".ljust(size, "x"),
                    f"key-{number % keys}" if keys else None,
                    partition=step.number("partition"),
                )
                for number in range(count)
            ]
            return outcomes(futures)
        if step.verb == "outcomes":
            futures, later[:] = later[:], []
            return outcomes(futures)
        if step.verb == "flush":
            producer.flush(step.patience_s())
        elif step.verb == "close":
            producer.close(step.patience_s())
        else:
            raise UnknownVerb(f"there is no verb `{step.verb}`")
        return {}

    def consume(self, consumer: ottla.Consumer, step: Step) -> Iterator[str]:
        if step.verb == "poll":
            count, deadline = step.number("count"), time.monotonic() + step.patience_s()
            came = 0
            while count is None or came < count:
                record = consumer.poll(max(0.0, deadline - time.monotonic()))
                if record is None:
                    break
                came += 1
                yield told(record)
            yield line("ok", {"count": came})
            return
        yield line("ok", self.consume_one(consumer, step))

    def consume_one(self, consumer: ottla.Consumer, step: Step) -> dict[str, Any]:
        verb = step.verb
        if verb == "assign":
            wanted = [partition_at(text) for text in step.need("partitions").split(",")]
            consumer.assign([tp for tp, _ in wanted])
            for tp, offset in wanted:
                if offset is not None:
                    consumer.seek(tp, offset)
        elif verb == "subscribe":
            consumer.subscribe(step.need("topics").split(","))
        elif verb == "subscribe_pattern":
            consumer.subscribe_pattern(step.need("pattern"))
        elif verb == "unsubscribe":
            consumer.unsubscribe()
        elif verb == "seek":
            offset = step.need("offset")
            consumer.seek(step.partition(), offset if offset in ("earliest", "latest") else int(offset))
        elif verb == "pause":
            consumer.pause(step.partitions())
        elif verb == "resume":
            consumer.resume(step.partitions())
        elif verb == "position":
            return {"offset": until(step.patience_s(), lambda: consumer.position(step.partition()))}
        elif verb == "commit":
            offset = step.number("offset")
            consumer.commit(None if offset is None else {step.partition(): offset})
        elif verb == "committed":
            found = consumer.committed([step.partition()]).get(step.partition())
            return {"offset": None if found is None else found.offset}
        elif verb == "await_assignment":
            count = step.number("count", 0)

            def look() -> Optional[str]:
                assigned = sorted(f"{topic}-{partition}" for topic, partition in consumer.assignment())
                return ",".join(assigned) if len(assigned) == count else None

            return {"partitions": until(step.patience_s(), look)}
        elif verb == "offset_for_time":
            found = consumer.offsets_for_times({step.partition(): step.number("timestamp")})
            return {"offset": found.get(step.partition())}
        elif verb == "watermarks":
            tp = step.partition()
            return {"low": consumer.beginning_offsets([tp])[tp], "high": consumer.end_offsets([tp])[tp]}
        elif verb == "close":
            consumer.close(step.patience_s())
        else:
            raise UnknownVerb(f"there is no verb `{verb}`")
        return {}

    def administer(self, admin: ottla.Admin, step: Step) -> dict[str, Any]:
        verb, topic = step.verb, step.text("topic") or ""
        if verb == "create_topic":
            config = step.prefixed("config.")
            admin.create_topics([NewTopic(topic, step.number("partitions", 1), None, config)])
        elif verb == "delete_topic":
            admin.delete_topics([topic])
        elif verb == "describe_topic":
            return {"partitions": len(admin.describe_topics([topic])[topic].partitions)}
        elif verb == "list_topics":
            return {"topics": ",".join(sorted(admin.list_topics()))}
        elif verb == "create_partitions":
            admin.create_partitions({topic: step.number("partitions")})
        elif verb == "topic_config":
            return {"value": admin.topic_config(topic)[step.need("key")].value}
        elif verb == "alter_topic_config":
            admin.alter_topic_config(topic, {step.need("key"): step.text("value")})
        elif verb == "list_groups":
            return {"groups": ",".join(sorted(group.group_id for group in admin.list_groups()))}
        elif verb == "describe_group":
            described = admin.describe_groups([step.need("group")])[step.need("group")]
            return {"state": described.state, "members": len(described.members)}
        elif verb == "delete_group":
            admin.delete_groups([step.need("group")])
        else:
            raise UnknownVerb(f"there is no verb `{verb}`")
        return {}


def outcomes(futures: list[Any]) -> dict[str, Any]:
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    first = errors[0].name if errors else None
    return {"acknowledged": len(futures) - len(errors), "failed": len(errors), "error": first}


def main() -> None:
    runner = Runner()
    for text in sys.stdin:
        try:
            answer = list(runner.step(Step(text)))
        except Exception as error:  # noqa: BLE001 - it is the answer
            answer = [refused(error)]
        print("\n".join(answer), flush=True)


main()
