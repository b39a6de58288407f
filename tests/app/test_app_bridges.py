"""The bridges of an app, until its hub runs them."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest

from flask_push._app_bridges import AppBridges
from flask_push._app_bridges import make_bridge
from flask_push.brokers import Bridge
from flask_push.brokers.memory import MemoryBroker

NEWS, CHAT = Bridge("redis:news", "news"), Bridge("redis:chat", "chat")


class BridgingBroker(MemoryBroker):
    """One that can also publish what other programs do."""

    def bridge(
        self, bridge: Bridge, loop: asyncio.AbstractEventLoop, max_event: int
    ) -> cabc.Callable[[], None]:
        raise NotImplementedError


def test_the_hub_takes_each_bridge_once_in_the_order_of_the_calls() -> None:
    bridges = AppBridges([NEWS])
    for bridge in CHAT, NEWS, CHAT:
        bridges.add(bridge)
    assert bridges.take(BridgingBroker(), "redis://h", False) == [NEWS, CHAT]


def test_a_bridge_that_is_added_to_an_app_in_use_is_an_error() -> None:
    bridges = AppBridges([])
    assert bridges.take(MemoryBroker(), "memory:", False) == []
    with pytest.raises(RuntimeError, match="Call 'push.bridge' where the app is created"):
        bridges.add(NEWS)


def test_a_broker_without_bridges_is_an_error_that_shows_no_password() -> None:
    bridges = AppBridges([NEWS])
    url = "redis+cluster://:s3cret@host"
    with pytest.raises(RuntimeError, match="'redis:news' needs a Redis") as caught:
        bridges.take(MemoryBroker(), url, False)
    assert "'redis+cluster://***@host' has no bridges" in str(caught.value)
    # It can be mended, so the app is not in use.
    bridges.add(CHAT)
    assert bridges.take(BridgingBroker(), "redis://h", False) == [NEWS, CHAT]


def test_a_broker_without_bridges_is_no_error_where_bridges_are_optional() -> None:
    assert AppBridges([NEWS]).take(MemoryBroker(), "memory:", True) == []


def test_the_source_of_a_bridge_may_have_any_name() -> None:
    assert make_bridge("redis:a:b", "chat", "said") == Bridge("redis:a:b", "chat", "said")


@pytest.mark.parametrize(
    ("source", "channel", "type", "words"),
    [
        ("redis:", "a", "message", "such as 'redis:chat', not 'redis:'"),
        ("kafka:a", "a", "message", "not 'kafka:a'"),
        (None, "a", "message", "not None"),
        ("redis:a", "", "message", "channel"),
        ("redis:a", "x" * 65, "message", "takes 65 bytes"),
        ("redis:a", "a", "", "type"),
        ("redis:a", "a", "open", "fires 'open' itself"),
    ],
)
def test_an_invalid_bridge_is_an_error(
    source: t.Any, channel: str, type: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make_bridge(source, channel, type)
