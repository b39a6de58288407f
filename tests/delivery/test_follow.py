"""Which run a stream follows, as processes tell each other."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push._delivery.follow import check_follow
from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.follow import NOT_FOLLOWING
from flask_push._delivery.snapshot import stream_from_json
from flask_push._delivery.snapshot import stream_to_json
from flask_push._delivery.stream import check_stream
from flask_push._delivery.stream import Stream

FOLLOW = Follow("chat", "3.1", "ai-sdk", "epoch", 31, 0, "chunked")


@pytest.mark.parametrize(
    "follow",
    [
        NOT_FOLLOWING,
        Follow("chat", "3.1"),
        Follow("chat", "3.2", epoch="epoch", after=31, skip=2),
        FOLLOW,
        FOLLOW._replace(wire="openai", framing="close"),
    ],
)
def test_another_process_reads_which_run_a_stream_follows(follow: Follow) -> None:
    sent = json.loads(json.dumps(follow.to_json()))
    assert Follow.from_json(sent) == follow
    assert Follow.from_json({**sent, "added": [1]}) == follow
    stream = Stream(("chat",), "x", follow=follow)
    assert check_stream(stream_from_json(json.loads(json.dumps(stream_to_json(stream)))))


def test_a_stream_that_follows_nothing_is_sent_as_an_older_version_sends_it() -> None:
    assert "follow" not in stream_to_json(Stream(("chat",), "x"))
    assert NOT_FOLLOWING.to_json() == {} and Follow.from_json({}) is NOT_FOLLOWING
    assert Follow("chat", "3.1").to_json() == {"channel": "chat", "tag": "3.1"}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "chat",
        {"channel": 1},
        {"tag": None},
        {"wire": 2},
        {"wire": "ws"},
        {"epoch": 1},
        {"after": "3"},
        {"after": -1},
        {"after": True},
        {"skip": 1.5},
        {"skip": -1},
        {"framing": "gzip"},
        {"framing": 0},
        {"tag": ""},
        {"channel": ""},
    ],
)
def test_a_field_that_this_version_cannot_use_is_refused(wrong: t.Any) -> None:
    if isinstance(wrong, dict):
        wrong = {**FOLLOW.to_json(), **wrong}
    with pytest.raises(ValueError, match="follow|wire"):
        Follow.from_json(wrong)


@pytest.mark.parametrize(
    ("wire", "framing", "skip"),
    [("push", "chunked", 0), ("openai", "none", 0), ("openai", "close", 1)],
)
def test_only_plain_wires_are_framed_and_only_the_other_skips(
    wire: str, framing: Framing, skip: int
) -> None:
    with pytest.raises(ValueError, match=f"A stream of the wire '{wire}' can't have"):
        check_follow(FOLLOW._replace(wire=wire, framing=framing, skip=skip))


def test_the_first_bytes_of_a_plain_wire_are_a_comment() -> None:
    def first(**how: t.Any) -> bytes:
        stream = Stream(("chat",), "x", b"HEAD", follow=FOLLOW._replace(**how))
        assert stream.is_plain == (stream.follow.wire != "push")
        return stream.first_bytes(500)

    assert first() == b"HEAD2\r\n:\n\r\n"
    assert first(framing="close") == b"HEAD:\n"
    assert first(wire="push", framing="none") == b"HEAD:\nretry: 500\n"


def test_an_unknown_wire_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="wire 'ws' .* knows push, ai-sdk, ag-ui, openai"):
        check_follow(FOLLOW._replace(wire="ws"))


def test_a_follow_has_the_one_channel_of_its_run() -> None:
    for channels in ("chat", "other"), ("other",):
        with pytest.raises(ValueError, match="'channels' of a follow is"):
            check_stream(Stream(channels, "x", follow=FOLLOW))
    with pytest.raises(ValueError, match="names no run"):
        check_stream(Stream(("chat",), "x", follow=FOLLOW._replace(tag="")))
