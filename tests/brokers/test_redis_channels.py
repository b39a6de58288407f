"""The channels of a feed: those it watches, and those that are about to change."""

from __future__ import annotations

from flask_push.brokers.redis.channels import Channels


def test_a_channel_is_watched_when_its_question_has_an_answer() -> None:
    channels = Channels(["a"])
    channels.watch(["c", "b"], 5)
    channels.watch(["d"], 6)
    # A new connection subscribes to all of them.
    assert set(channels) == {*"abcd"}
    assert channels.watched == {"a"}
    assert sorted(channels.wait_for(5)) == ["b", "c"]
    assert channels.wait_for(4) == channels.take_answered(4) == []
    assert channels.take_answered(5) == ["b", "c"]
    assert channels.watched == {*"abc"}
    assert channels.take_answered(5) == []
    # The answer to a later question is also one to those before it.
    channels.watch(["e"], 7)
    assert channels.take_answered(9) == ["d", "e"]


def test_a_channel_that_is_no_longer_wanted_is_not_watched_later() -> None:
    channels = Channels(["a"])
    channels.watch(["b"], 5)
    channels.unwatch(["a", "b"])
    assert not channels.watched and not set(channels)
    assert channels.take_answered(5) == []
    assert channels.take_unwanted() == {"a", "b"}
    assert channels.take_unwanted() == set()


def test_a_channel_that_is_wanted_again_stays_subscribed() -> None:
    channels = Channels(["a", "b", "c"])
    channels.unwatch(["a", "b", "c"])
    channels.watch(["a"], 5)
    channels.watch(["b"], 4)
    channels.take_answered(4)
    assert channels.take_unwanted() == {"c"}
    assert channels.watched == {"b"}


def test_a_channel_that_is_wanted_twice_waits_for_the_later_question() -> None:
    channels = Channels([])
    channels.watch(["a"], 5)
    channels.watch(["a"], 6)
    assert not channels.is_confirmed("a", 5) and channels.is_confirmed("a", 6)
    assert channels.take_answered(5) == []
    assert channels.take_answered(6) == ["a"]
    assert channels.is_confirmed("a", 5) and not channels.is_confirmed("b", 6)
