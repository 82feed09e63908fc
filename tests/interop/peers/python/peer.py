"""confluent-kafka, kafka-python and aiokafka behind the verbs of ../README.md.

    peer.py confluent|kafka-python codecs
    peer.py confluent|kafka-python produce BOOTSTRAP TOPIC CODEC
    peer.py confluent|kafka-python consume BOOTSTRAP TOPIC COUNT
    peer.py confluent|kafka-python|aiokafka member BOOTSTRAP TOPIC GROUP [consumer]
"""

import asyncio
import base64
import json
import logging
import os
import sys
import threading
import time
import urllib.parse
import urllib.request

DEADLINE_S = 60
# As short as a broker takes by default, so that a dead member is soon known.
SESSION_MS = 6000


def unpack(text):
    return None if text is None else base64.b64decode(text)


def pack(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def records():
    for line in sys.stdin:
        r = json.loads(line)
        headers = [(name, unpack(value)) for name, value in r["headers"]]
        yield r["partition"], r["timestamp"], unpack(r["key"]), unpack(r["value"]), headers


def put(partition, timestamp, key, value, headers):
    record = {
        "partition": partition,
        "timestamp": timestamp,
        "key": pack(key),
        "value": pack(value),
        "headers": [[name, pack(data)] for name, data in headers],
    }
    print(json.dumps(record))


def tell_given(given):
    """Says which records a member was given, by partition and offset, and when."""
    now_us = time.time_ns() // 1000
    for partition, offset in given:
        print(partition, offset, now_us)
    sys.stdout.flush()


def tell_committed():
    """Says that all that was given since the last word on it is committed, and since when."""
    print("committed", time.time_ns() // 1000, flush=True)


def tell_uncommitted():
    """Says that it is not: the group rebalances, and whoever gets a partition reads its records again."""
    print("uncommitted", flush=True)


def input_end():
    """An event that is set when standard input ends."""
    ended = threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def properties():
    """How to connect, if that is not by plain text: the keys of kafka-clients, with PEM files."""
    path = os.environ.get("PEER_PROPERTIES")
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split("=", 1) for line in file)


def renamed(names):
    """The properties that are there, by the names that a client has for them."""
    known = properties()
    return {name: known[key] for name, key in names if key in known}


def token():
    """A token by the client credentials grant, as the properties say."""
    known = properties()
    names = ["id", "secret"]
    client = ":".join(known[f"sasl.oauthbearer.client.credentials.client.{name}"] for name in names)
    request = urllib.request.Request(
        known["sasl.oauthbearer.token.endpoint.url"],
        urllib.parse.urlencode({"grant_type": "client_credentials"}).encode(),
        {"authorization": "Basic " + base64.b64encode(client.encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return json.load(answer)["access_token"]


class Confluent:
    @staticmethod
    def security():
        config = Confluent.named_as_in_librdkafka()
        if config.get("sasl.mechanism") == "OAUTHBEARER":
            config |= {"sasl.oauthbearer.method": "oidc", "error_cb": Confluent.give_up}
        return config

    @staticmethod
    def give_up(error):
        """Who cannot log in tries again for ever, unless it is told not to."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._AUTHENTICATION:
            print(error.str(), file=sys.stderr, flush=True)
            os._exit(1)

    @staticmethod
    def named_as_in_librdkafka():
        return renamed(
            [
                ("security.protocol", "security.protocol"),
                ("ssl.ca.location", "ssl.truststore.location"),
                ("ssl.certificate.location", "ssl.keystore.location"),
                ("ssl.key.location", "ssl.keystore.location"),
                ("sasl.mechanism", "sasl.mechanism"),
                ("sasl.username", "sasl.username"),
                ("sasl.password", "sasl.password"),
                ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"),
                ("sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"),
                ("sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.token.endpoint.url"),
            ]
        )

    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    @staticmethod
    def produce(bootstrap, topic, codec):
        from confluent_kafka import Producer

        failures = []
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.type": codec,
                "enable.idempotence": True,
                "linger.ms": 20,
                "message.max.bytes": 2_000_000,
                "message.timeout.ms": DEADLINE_S * 1000,
            }
            | Confluent.security()
        )
        for partition, timestamp, key, value, headers in records():
            producer.produce(
                topic,
                value,
                key,
                partition,
                timestamp=timestamp,
                headers=headers,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
            producer.poll(0)
        left = producer.flush(DEADLINE_S)
        if left or failures:
            sys.exit(f"{left} not delivered, {failures[:3]}")

    @staticmethod
    def consume(bootstrap, topic, count):
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False} | Confluent.security()
        )
        metadata = consumer.list_topics(topic, timeout=DEADLINE_S).topics[topic]
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in metadata.partitions])
        end = time.monotonic() + DEADLINE_S
        while count and time.monotonic() < end:
            for m in consumer.consume(count, 1.0):
                if m.error():
                    sys.exit(str(m.error()))
                put(m.partition(), m.timestamp()[1], m.key(), m.value(), m.headers() or [])
                count -= 1
        consumer.close()
        return count


    @staticmethod
    def member(bootstrap, topic, group, protocol="classic"):
        from confluent_kafka import Consumer, KafkaException

        config = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        if protocol == "classic":
            # In the consumer protocol the broker says how long a session is.
            config |= {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": SESSION_MS // 10}
        consumer = Consumer(config)
        consumer.subscribe([topic])
        ended = input_end()
        while not ended.is_set():
            given = [(m.partition(), m.offset()) for m in consumer.consume(100, 0.1) if not m.error()]
            tell_given(given)
            if given:
                try:
                    committed = consumer.commit(asynchronous=False)
                except KafkaException:
                    committed = []
                # Of what it was given it commits only what is still its own: a rebalance may have come between.
                done = {part.partition: part.offset for part in committed if not part.error}
                if all(done.get(partition, -1) > offset for partition, offset in given):
                    tell_committed()
                else:
                    tell_uncommitted()
        consumer.close()


class KafkaPython:
    @staticmethod
    def security():
        config = KafkaPython.named_as_there()
        if config.get("sasl_mechanism") == "OAUTHBEARER":
            from kafka.net.sasl.oauth import AbstractTokenProvider

            class Tokens(AbstractTokenProvider):
                def token(self):
                    return token()

            config["sasl_oauth_token_provider"] = Tokens()
            # Who cannot log in says so in its log alone, and tries again.
            logging.basicConfig(level=logging.WARNING)
            config["bootstrap_timeout_ms"] = 5000
        return config

    @staticmethod
    def named_as_there():
        return renamed(
            [
                ("security_protocol", "security.protocol"),
                ("ssl_cafile", "ssl.truststore.location"),
                ("ssl_certfile", "ssl.keystore.location"),
                ("ssl_keyfile", "ssl.keystore.location"),
                ("sasl_mechanism", "sasl.mechanism"),
                ("sasl_plain_username", "sasl.username"),
                ("sasl_plain_password", "sasl.password"),
            ]
        )

    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    @staticmethod
    def produce(bootstrap, topic, codec):
        from kafka import KafkaProducer

        producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if codec == "none" else codec,
            linger_ms=20,
            max_request_size=2_000_000,
            **KafkaPython.security(),
        )
        futures = [
            producer.send(topic, value=value, key=key, partition=partition, timestamp_ms=timestamp, headers=headers)
            for partition, timestamp, key, value, headers in records()
        ]
        producer.flush(DEADLINE_S)
        for future in futures:
            future.get(timeout=DEADLINE_S)

    @staticmethod
    def consume(bootstrap, topic, count):
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=2_000_000,
            **KafkaPython.security(),
        )
        partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        end = time.monotonic() + DEADLINE_S
        while count and time.monotonic() < end:
            for batch in consumer.poll(timeout_ms=1000).values():
                for m in batch:
                    put(m.partition, m.timestamp, m.key, m.value, m.headers)
                    count -= 1
        consumer.close()
        return count


    @staticmethod
    def member(bootstrap, topic, group):
        from kafka import KafkaConsumer
        from kafka.errors import KafkaError

        consumer = KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 10,
        )
        ended = input_end()
        while not ended.is_set():
            # kafka-python 3.0.12 keeps an OffsetFetch that a poll gave up, and takes its answer when it has the same
            # partitions again, whatever others have committed since: so no poll may give one up.
            given = consumer.poll(timeout_ms=1000, max_records=100)
            tell_given((m.partition, m.offset) for batch in given.values() for m in batch)
            if given:
                try:
                    consumer.commit()
                    tell_committed()
                except KafkaError:
                    tell_uncommitted()
        consumer.close()


class AioKafka:
    """A member only: it shares its producer with kafka-python."""

    @staticmethod
    def member(bootstrap, topic, group):
        asyncio.run(AioKafka.consume_in_group(bootstrap, topic, group))

    @staticmethod
    async def consume_in_group(bootstrap, topic, group):
        from aiokafka import AIOKafkaConsumer
        from aiokafka.errors import KafkaError

        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 10,
        )
        await consumer.start()
        ended = input_end()
        while not ended.is_set():
            given = await consumer.getmany(timeout_ms=100, max_records=100)
            tell_given((m.partition, m.offset) for batch in given.values() for m in batch)
            if given:
                try:
                    await consumer.commit()
                    tell_committed()
                except KafkaError:
                    tell_uncommitted()
        await consumer.stop()


def main():
    client = {"confluent": Confluent, "kafka-python": KafkaPython, "aiokafka": AioKafka}[sys.argv[1]]
    verb, *args = sys.argv[2:]
    if verb == "codecs":
        print("\n".join(client.codecs))
    elif verb == "produce":
        client.produce(*args)
    elif verb == "consume":
        left = client.consume(args[0], args[1], int(args[2]))
        if left:
            sys.exit(f"{left} records did not come")
    elif verb == "member":
        client.member(*args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
