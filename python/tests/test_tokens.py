"""Tokens of the program's own, by which clients log in at a broker that checks them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import ottla
from ottla import aio, errors
from ottla.testing import Broker

Name = Callable[[str], str]

_TOKENS = Path(__file__).parents[2] / "tests" / "tokens"
ALICE = (_TOKENS / "alice.jwt").read_text().strip()
EXPIRED = (_TOKENS / "expired.jwt").read_text().strip()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    config = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.jwks.endpoint.url": (_TOKENS / "keys.json").as_uri(),
        "sasl.oauthbearer.expected.audience": "kafka",
        "sasl.oauthbearer.expected.issuer": "https://issuer.test",
        "ottla.sasl.plain.without.tls": "true",
    }
    with Broker(config) as broker:
        yield broker


def bearer(broker: Broker, **more: Any) -> dict[str, Any]:
    return {
        "bootstrap.servers": broker.bootstrap_servers,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "ottla.sasl.plain.without.tls": True,
        **more,
    }


class Provider:
    """As kafka-python and aiokafka have them."""

    def token(self) -> str:
        return ALICE


def for_confluent(config: str) -> tuple[str, float]:
    assert config == ""
    return ALICE, 4102444800.0


async def later() -> ottla.Token:
    await asyncio.sleep(0.01)
    return ottla.Token(ALICE, expires=datetime(2100, 1, 1, tzinfo=timezone.utc), principal="alice", extensions={"tenant": "a"})


@pytest.mark.parametrize("oauth_cb", [lambda: ALICE, Provider(), for_confluent, later])
def test_a_client_logs_in_by_what_the_program_gives(broker: Broker, name: Name, oauth_cb: Any) -> None:
    topic = name("tokens")
    with ottla.Producer(bearer(broker), oauth_cb=oauth_cb) as producer:
        assert producer.send(topic, "two apples").result(10).offset == 0
    with ottla.Consumer(bearer(broker, oauth_cb=oauth_cb), group=name("group"), topics=[topic], start="earliest") as consumer:
        record = consumer.poll(10)
        assert record is not None and record.value == b"two apples"
    with ottla.Admin(bearer(broker), oauth_cb=oauth_cb) as admin:
        assert len(admin.describe_cluster().brokers) == 1


@pytest.mark.parametrize("oauth_cb", [lambda: ALICE, later])
def test_so_does_one_of_an_event_loop(broker: Broker, name: Name, oauth_cb: Any) -> None:
    topic = name("tokens")

    async def run() -> None:
        async with aio.Producer(bearer(broker), oauth_cb=oauth_cb) as producer:
            assert (await producer.send(topic, "two apples")).offset == 0
        async with aio.Consumer(bearer(broker), oauth_cb=oauth_cb, group=name("group"), topics=[topic], start="earliest") as consumer:
            async for record in consumer:
                assert record.value == b"two apples"
                break

    asyncio.run(asyncio.wait_for(run(), 30))


def test_what_the_function_raises_is_part_of_the_error(broker: Broker) -> None:
    def sealed() -> str:
        raise RuntimeError("the vault is sealed")

    with ottla.Admin(bearer(broker), oauth_cb=sealed) as admin:
        with pytest.raises(errors.AuthenticationError, match="RuntimeError: the vault is sealed"):
            admin.describe_cluster()

    asked = 0

    def away() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise ConnectionRefusedError("the vault is away")
        return ALICE

    with ottla.Admin(bearer(broker), oauth_cb=away) as admin:
        assert len(admin.describe_cluster().brokers) == 1
    assert asked == 3


def test_a_token_that_is_no_good_is_told_as_such(broker: Broker) -> None:
    with ottla.Admin(bearer(broker, **{"default.api.timeout.ms": 2000}), oauth_cb=lambda: EXPIRED) as admin:
        with pytest.raises(errors.OttlaError, match="has expired"):
            admin.describe_cluster()
    forged = ottla.Token(ALICE[:-8] + "AAAAAAAA")
    assert ALICE[:20] not in repr(forged)
    with ottla.Admin(bearer(broker), oauth_cb=lambda: forged) as admin:
        with pytest.raises(errors.AuthenticationError, match="invalid_token") as raised:
            admin.describe_cluster()
    assert forged.value not in str(raised.value)


def test_no_function_and_no_setting_is_a_mistake(broker: Broker) -> None:
    with pytest.raises(errors.ConfigError, match="sasl.oauthbearer.token.endpoint.url"):
        ottla.Producer(bearer(broker))
    no_function: Any = "token"
    with pytest.raises(TypeError, match="oauth_cb"):
        ottla.Producer(bearer(broker), oauth_cb=no_function)
    with pytest.raises(TypeError, match="given twice"):
        ottla.Producer(bearer(broker, oauth_cb=later), oauth_cb=later)
