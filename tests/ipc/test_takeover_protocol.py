"""The messages of a takeover: they are read as they were written, by older versions too."""

from __future__ import annotations

from flask_push._delivery.follow import Follow
from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState
from flask_push._delivery.snapshot import stream_from_json
from flask_push._delivery.snapshot import stream_to_json
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import StreamPresence

# What one version writes, another reads.


def test_what_is_sent_comes_back_the_same() -> None:
    stream = Stream(("a", "é"), "c", b"HEAD\xff", "p", 3, "ann", lifetime=7.5, poll=True)
    stream = stream._replace(
        session="s", seen="epoch-1", items=True, holds="5f0a", every=2.5, expires=9.5
    )
    stream = stream._replace(presence=StreamPresence((("a", "1"),), ("a", "b"), ("c",)))
    assert stream_from_json(stream_to_json(stream)) == stream
    follow = Follow("a", "3.1", "push", "epoch", 5, 2)
    stream = stream._replace(channels=("a",), follow=follow)
    assert stream_from_json(stream_to_json(stream)) == stream
    place = ReaderState(stream, True, "epoch", 5, b"\x00\xffrest", 4, None, 9, 1, 2)
    assert ReaderState.from_json(place.to_json()) == place
    chains = LogState("epoch", 1, 2, {"a": (0, 0), "b": (3, 4)})
    assert LogState.from_json(chains.to_json()) == chains and len(chains.to_json()) == 4
    chains = chains._replace(items={"a": [3, 4], "b": [0]})
    assert LogState.from_json(chains.to_json()) == chains


def test_added_fields_are_ignored_and_missing_fields_have_defaults() -> None:
    stream = Stream(("a",), "c")
    values = {**stream_to_json(stream), "new": 1}
    del values["user"]
    added = {"session", "seen", "items", "holds", "every", "presence", "follow"}
    added.add("expires")
    assert not added & values.keys(), "no older version has them"
    assert stream_from_json(values) == stream
    place = ReaderState(stream, False, "", 0, b"", 0, 1.0, 0, items=[1, 2, 0], age=5)
    assert ReaderState.from_json([*place.to_json(), "new"]) == place
    assert ReaderState.from_json(place._replace(items=None).to_json()).age == 5
    place = place._replace(items=None, age=None)
    assert len(place.to_json()) == 10, "no older version has the last ones"
    assert ReaderState.from_json(place.to_json()[:8]) == place
    assert Options.from_json({"retry": 5, "new": 1}) == Options(retry=5)
