"""What Flask-SSE publishes in Redis is the event that its own stream would send."""

from __future__ import annotations

import json
import typing as t

import pytest
from flask_sse import Message
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from flask_push._event import GAP
from flask_push.brokers import Bridge
from flask_push.brokers.redis.unwrapping import unwrap
from flask_push.brokers.redis.waiting import WaitingEvents

BRIDGE = Bridge("redis:sse", "sse:sse", "said", "flask-sse")

DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(DATA, st.none() | st.just("") | st.text("abc:-ü", min_size=1), st.none() | st.text())
def test_data_and_type_are_those_that_were_published(
    data: t.Any, type: str | None, id: str | None
) -> None:
    published = json.dumps(Message(data, type, id, retry=5).to_dict()).encode()
    found, found_type = unwrap(published, BRIDGE)
    assert found_type == (type or "said")
    assert found.decode() == (data if isinstance(data, str) else json.dumps(data))


def test_without_a_wire_all_of_it_is_the_data() -> None:
    bridge = Bridge("redis:sse", "sse", "said")
    assert unwrap(b'{"data": 1}', bridge) == (b'{"data": 1}', "said")


@pytest.mark.parametrize(
    "published",
    [
        *(b"", b"hi", b"\xff", b"5", b"[1]", b'"data"', b"{}", b'{"type": "a"}'),
        *(b'{"data": NaN}', b'{"data": "\\ud800"}', b"[" * 100_000, b'{"data":' * 100_000),
        *(b'{"data": 1, "type": 5}', b'{"data": 1, "type": "error"}'),
        *(b'{"data": 1, "type": "push:gap"}', b'{"data": 1, "type": "a\\nb"}'),
        b'{"data": "%b"}' % (b"x" * 101),
    ],
    ids=lambda published: published[:20],
)
def test_anything_else_is_a_gap(published: bytes, caplog: pytest.LogCaptureFixture) -> None:
    events = WaitingEvents(BRIDGE, 100)
    events.add(published)
    events.add(b'{"data": "then"}')
    kinds = [(event.type, event.data) for event in events.take()]
    assert kinds == [(GAP, ""), ("said", "then")]
    assert "published on sse; readers get a gap: " in caplog.text


def test_only_the_data_counts_for_the_size_of_an_event() -> None:
    events = WaitingEvents(BRIDGE, 100)
    events.add(json.dumps(Message("ü" * 50, "greeting").to_dict()).encode())
    assert [event.data for event in events.take()] == ["ü" * 50]


def test_a_hub_that_does_not_know_the_wire_of_a_newer_worker_reports_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = WaitingEvents(BRIDGE._replace(wire="newer"), 100)
    events.add(b"hi")
    assert [event.type for event in events.take()] == [GAP]
    assert "another version, which does not know the wire 'newer'" in caplog.text
