"""What the events of a stream tell the doctor. Any program may have sent them."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json

import pytest
from support.doctors import canned
from support.doctors import head

from flask_push import Event
from flask_push._doctor.browser import BrowserRequest
from flask_push._doctor.events import channels_of
from flask_push._doctor.events import fields_of
from flask_push._doctor.events import has_probe
from flask_push._doctor.events import is_open
from flask_push._doctor.events import position_in
from flask_push._doctor.events import positions_of
from flask_push.client.address import Address


@contextlib.contextmanager
def received(*events: tuple[str, str, str]) -> cabc.Iterator[BrowserRequest]:
    """A stream with these events: type, data and id."""
    lines = "".join(f"event: {t}\nid: {id}\ndata: {d}\n\n" for t, d, id in events)
    with canned(lambda _: head() + lines.encode()) as server:
        with BrowserRequest(Address(server.url)) as request:
            assert request.read(lambda: len(request.events) == len(events), 20)
            yield request


def test_a_stream_is_open_after_its_first_event() -> None:
    with received(("message", "x", "e-1.a")) as request:
        assert not is_open(request)
    with received(("push:open", "{}", "e-1")) as request:
        assert is_open(request)


def test_a_probe_is_known_by_its_word() -> None:
    probes = [("push:doctor", text, "e-1") for text in ("[", "[]", '{"probe": "b"}')]
    with received(*probes, ("message", '{"probe": "a"}', "e-2.a")) as request:
        assert has_probe(request, "b")
        assert not has_probe(request, "a")


@pytest.mark.parametrize("data", ["", "x", "[1]", "null", "5", "[" * 100_000])
def test_data_that_is_not_a_json_object_has_no_fields(data: str) -> None:
    assert fields_of(Event("a", data)) == {}
    assert fields_of(Event("a", '{"a": [1]}')) == {"a": [1]}


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        (["a", "ü b"], ["a", "ü b"]),
        ([], []),
        # No stream of ours has these.
        ("a", []),
        (None, []),
        (["a", ""], []),
        (["a", 5], []),
        (["x" * 65], []),
        (["a"] * 10_001, []),
    ],
)
def test_the_channels_are_those_that_a_stream_of_ours_can_have(
    channels: object, found: list[str]
) -> None:
    with received(("push:open", json.dumps({"channels": channels}), "e-1")) as request:
        assert channels_of(request) == found


def test_positions_are_ids_without_their_channels() -> None:
    assert position_in("e-1.a.b") == position_in("e-1") == "e-1"
    events = [("message", "x", id) for id in ("e-1.a", "e-1.b", "e-2.a")]
    with received(*events) as request:
        assert positions_of(request) == {"e-1", "e-2"}
