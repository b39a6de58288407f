"""Our brokers and their feeds have the interfaces that brokers of others have."""

from __future__ import annotations

import dataclasses
import inspect
import typing as t

import pytest

from flask_push import NotPublished
from flask_push import NotRead
from flask_push import PublishUncertain
from flask_push.brokers import Bridging
from flask_push.brokers import Broker
from flask_push.brokers import Feed
from flask_push.brokers import ItemFeed
from flask_push.brokers import ItemSink
from flask_push.brokers import KeepsItems
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import OwnSink
from flask_push.brokers import Retention
from flask_push.brokers import Sink
from flask_push.brokers import TimedSink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.feed import SqliteFeed
from flask_push.testing._item_sink import ItemRecordingSink
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import RecordingSink


def parameters(function: t.Any) -> list[tuple[str, object, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def methods(protocol: type) -> list[str]:
    return [
        name
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]


@pytest.mark.parametrize(
    ("protocol", "implementation"),
    [
        *((Broker, broker) for broker in (MemoryBroker, SqliteBroker, RedisBroker)),
        *((Feed, feed) for feed in (MemoryFeed, SqliteFeed, RedisFeed)),
        (Bridging, RedisBroker),
        *((KeepsOwnLogs, broker) for broker in (MemoryBroker, SqliteBroker, RedisBroker)),
        (KeepsItems, MemoryBroker),
        (KeepsItems, RedisBroker),
        (ItemFeed, RedisFeed),
        (ItemFeed, MemoryFeed),
        *((each, ItemRecordingSink) for each in (Sink, ItemSink, TimedSink)),
        (Sink, RecordingSink),
        *((each, OwnRecordingSink) for each in (Sink, OwnSink)),
    ],
)
def test_each_method_has_the_parameters_of_the_interface(
    protocol: type, implementation: type
) -> None:
    names = methods(protocol)
    assert names
    for name in names:
        ours = parameters(getattr(implementation, name))
        if protocol is Broker and issubclass(implementation, KeepsItems):
            # That has one parameter more.
            ours = [each for each in ours if (name, each[0]) != ("read", "items")]
        assert ours == parameters(getattr(protocol, name)), name


def test_a_broker_is_known_by_its_methods() -> None:
    """So a broker of another package need not inherit from a class of ours."""
    assert isinstance(MemoryBroker(), Broker)
    assert not isinstance(MemoryBroker(), Bridging)
    partial = type("Partial", (), {"url": "x:", "publish": None, "read": None})()
    assert not isinstance(partial, Broker)


def test_publishing_has_three_results_that_need_different_remedies() -> None:
    errors = NotPublished, PublishUncertain, NotRead
    for error in errors:
        assert issubclass(error, Exception)
        assert not any(issubclass(error, other) for other in errors if other is not error)


def test_what_is_kept_can_not_be_changed_later() -> None:
    retention = Retention(age=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        retention.age = 6  # type: ignore[misc]
    assert retention == Retention(5, 1000, 256 * 2**20, 10_000, 4 * 2**20)
