"""The group of those that follow a run: the frames of its rows."""

from __future__ import annotations

import json
import typing as t

import pytest
from support.follows_store import CHANNEL
from support.follows_store import OWN
from support.follows_store import TAG
from support.follows_store import whole

from flask_push._delivery.channel import Budget
from flask_push._delivery.channel import Gap
from flask_push._delivery.encoder import Encoder
from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.followed import ALL
from flask_push._delivery.followed import Before
from flask_push._delivery.followed import LastFrame
from flask_push._delivery.followed import NotKnown
from flask_push._delivery.followed import number_to_read
from flask_push._delivery.followed import ReadBefore
from flask_push._delivery.followed import RunGroup
from flask_push._delivery.run_rows import pack
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Position

Reported = list[tuple[str, Position, str]]


@pytest.fixture
def reported() -> Reported:
    return []


def make_group(
    reported: Reported, wire: str = "push", framing: Framing = "none", sure: int = 50
) -> RunGroup:
    def report(entry: Entry, position: Position, error: Exception) -> None:
        reported.append((entry.item, position, str(error)))

    follow = Follow(CHANNEL, TAG, wire, "epoch", 0, 0, framing)
    return RunGroup(OWN, follow, Encoder(report, 100), lambda: sure)


def row(data: str, type: str = "message", item: str = f"{TAG}.0") -> Entry:
    return Entry(40, 0, OWN, type, data.encode(), item=item)


def status(status: str, text: str = "") -> Entry:
    return row(json.dumps({"status": status, "text": text}), "push:run", f"{TAG}.t3")


def frame_of(group: RunGroup, entry: Entry, before: bytes | None = b"") -> t.Any:
    piece = group.piece(entry, "epoch", Before(before))
    return None if piece is None else piece[1]


def test_each_event_of_a_row_is_sent(reported: Reported) -> None:
    entry = row(pack(["a", "b"]), "said")
    assert frame_of(make_group(reported), entry) == (
        b"id: epoch-d.chat~3a1.1\nevent: said\ndata: a\n\n"
        b"id: epoch-e.chat~3a1\nevent: said\ndata: b\n\n"
    )
    assert frame_of(make_group(reported, "openai", "close"), entry) == (
        b"data: a\n\ndata: b\n\n"
    )
    chunked = frame_of(make_group(reported, "openai", "chunked"), entry)
    assert chunked == b"12\r\ndata: a\n\ndata: b\n\n\r\n"


def test_a_status_is_an_event_only_where_events_have_types(reported: Reported) -> None:
    frame = frame_of(make_group(reported), status("stopping"))
    assert b"\nevent: push:run\n" in frame and not isinstance(frame, LastFrame)
    assert frame_of(make_group(reported, "ai-sdk", "chunked"), status("stopping")) is None
    progress = row('{"done":1}', "push:progress", f"{TAG}.p")
    shown = frame_of(make_group(reported), progress)
    assert shown == b'event: push:progress\ndata: {"done":1}\n\n'
    assert frame_of(make_group(reported, "ai-sdk", "close"), progress) is None


@pytest.mark.parametrize("how", ["done", "failed", "stopped", "lost"])
def test_the_last_frame_says_that_the_response_is_complete(
    reported: Reported, how: str
) -> None:
    frame = frame_of(make_group(reported), status(how))
    assert isinstance(frame, LastFrame) and f'"{how}"'.encode() in bytes(frame)
    assert number_to_read((40, frame)) == ALL and number_to_read((40, b"")) == 40
    plain = frame_of(make_group(reported, "openai", "close"), status(how))
    assert isinstance(plain, LastFrame) and plain.endswith(b"data: [DONE]\n\n")
    chunked = frame_of(make_group(reported, "openai", "chunked"), status(how))
    assert isinstance(chunked, LastFrame) and whole(chunked) == plain


def test_a_run_may_end_without_any_bytes(reported: Reported) -> None:
    frame = frame_of(make_group(reported, "ag-ui", "close"), status("done"))
    assert isinstance(frame, LastFrame) and frame == b""
    frame = frame_of(make_group(reported, "ag-ui", "chunked"), status("done"))
    assert isinstance(frame, LastFrame) and frame == b"0\r\n\r\n"


def test_the_last_words_of_some_formats_need_the_event_before(reported: Reported) -> None:
    group = make_group(reported, "ag-ui", "close")
    with pytest.raises(NotKnown):
        frame_of(group, status("failed", "No."), None)
    assert frame_of(group, status("failed", "No."), b'{"type":"RUN_ERROR"}') == b""
    said = b'data: {"type":"RUN_ERROR","message":"No.","code":"failed"}\n\n'
    assert frame_of(group, status("failed", "No."), b"") == said
    assert frame_of(make_group(reported), status("failed"), None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (row("5\nabc"), "3 bytes are not events"),
        (row(pack(["x" * 101])), "101 bytes of data are more than PUSH_MAX_EVENT_BYTES"),
        (row(pack(["x\n" * 15])), "120 bytes of data are more"),
        (row("[", "push:run"), "Expecting value"),
        (row("[", "push:progress"), "Expecting value"),
        (row("{}", "push:run"), "status"),
    ],
)
@pytest.mark.parametrize("wire", ["push", "ai-sdk"])
def test_a_row_that_cannot_be_sent_is_a_gap_and_is_reported(
    reported: Reported, entry: Entry, reason: str, wire: str
) -> None:
    group = make_group(reported, wire, "none" if wire == "push" else "close")
    assert frame_of(group, entry) == Gap((CHANNEL,), "unknown")
    ((item, position, error),) = reported
    assert (item, position) == (f"{TAG}.0", Position("epoch", 40)) and reason in error


def test_a_type_that_cannot_be_sent_concerns_only_formats_with_types(
    reported: Reported,
) -> None:
    entry = row(pack(["x"]), "a\nb")
    assert frame_of(make_group(reported, "ai-sdk", "close"), entry) == b"data: x\n\n"
    assert not reported
    assert isinstance(frame_of(make_group(reported), entry), Gap) and reported


def test_packed_events_count_one_by_one(reported: Reported) -> None:
    assert frame_of(make_group(reported), row(pack(["x" * 60] * 9)))
    assert not reported


def test_a_reader_that_is_cut_short_gets_words_of_its_format(
    reported: Reported,
) -> None:
    retry = b"retry: 5\n"
    assert make_group(reported).last_word(b"own", retry) == b"own" + retry
    group = make_group(reported, "openai", "chunked")
    assert group.last_word(b"", retry) == b""
    last = whole(group.last_word(b"own", retry))
    assert b'"code":"disconnected"' in last and last.endswith(b"[DONE]\n\n")
    group = make_group(reported, "openai", "close")
    assert group.last_word(b"own", retry) == last


def test_live_members_are_where_nothing_is_missing_for_certain(reported: Reported) -> None:
    group, budget = make_group(reported), Budget(1000)
    assert (group.place(40), group.place(60)) == (40, 50)
    group.lose(30, 45, budget)
    group.lose(35, 47, budget)
    assert group.place(60) == 30 and group.sure(60) == 50
    assert not group.reaches(46) and group.reaches(47)
    group.admit(1, Subscription())
    assert group.place(60) == 50


def test_a_page_has_the_newest_event_if_the_last_words_need_it(reported: Reported) -> None:
    sub = Subscription()
    sub.cursor, sub.last_id_number = 45, 40
    assert make_group(reported).begin_page(sub) == 45
    group = make_group(reported, "ag-ui", "close")
    assert group.begin_page(sub) == 39
    # It is known, but not whether another one is behind it.
    group.read = ReadBefore(b"x", 40, 43)
    assert group.begin_page(sub) == 43
    group.read = ReadBefore(b"x", 40, 45)
    assert group.begin_page(sub) == 45
    group.read = ReadBefore(b"x", 46, 50)
    assert group.begin_page(sub) == 39


def test_a_group_is_no_channel_of_the_log(reported: Reported) -> None:
    group = make_group(reported)
    assert group.follows and group.names == (CHANNEL,) and group.channels == ()
    assert (group.horizon(), group.has_items(), group.lacks_rosters) == (0, False, False)
    assert "0 members" in repr(group) and "2.1" in repr(group)
