"""What the scripts return and publish of items."""

from __future__ import annotations

import pytest

from flask_push import Position
from flask_push.brokers import Entry
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers.items import UNSET
from flask_push.brokers.redis import item_replies

ROW = b"9:abcde:7:5:4:2:1:met:1:2"


def test_a_page_of_rows_is_read() -> None:
    reply = [b"later", b"9", b"12", [b"3", b"-2"], [1, b"x", ROW], b"0"]
    page = item_replies.items_page(reply, ["a", "b"], 1)
    row = ItemRow(Position("abcde", 9), "a", "x", "t", b":1:2", 7, "me")
    assert page == ("later", 1, 9, 12, [row], {"a": 3, "b": 2})


def test_rows_name_the_one_before_them_that_was_read() -> None:
    tombstone = b"11:abcde::::0:10:" + UNSET.encode()
    rows = [1, b"x", ROW, 2, b"y", b"10:abcde::::0:1:tz", 1, b"z", tombstone]
    head = [b"later", b"12", b"1", b"1", b"9", b"5", b"12"]
    record = b"8:1:1:1:tl"
    reply = [*head, [], [1, record], b"11", [b"3", b"8"], rows, b"0"]
    entries = item_replies.all_missed(reply, ["a", "b"])
    assert entries == [
        Entry(8, 1, "a", "t", b"l"),
        Entry(9, 3, "a", "t", b":1:2", item="x"),
        Entry(10, 5, "b", "t", b"z", item="y"),
        Entry(11, 9, "a", UNSET, b"", item="z"),
    ]
    reply[7] = [b"1", b"trimmed", b"1", b"trimmed"]
    page = item_replies.page(reply, ["a", "b"], 5, 1000)
    assert (list(page.entries), page.reach) == (entries, 11)
    # It ends where either of the two does, and where it is full.
    assert item_replies.page(reply, ["a", "b"], 5, 200).reach == 9
    reply[9] = b"9"
    assert item_replies.page(reply, ["a", "b"], 5, 1000).reach == 9
    reply[6] = b"0"
    assert item_replies.all_missed(reply, ["a", "b"]) is None


def test_channels_without_rows_have_a_negative_horizon() -> None:
    reply = [*[b""] * 10, [b"3", b"-2"]]
    assert item_replies.horizons(reply, ["a", "b"]) == ({"a": 3, "b": 2}, {"b"})


def test_members_name_channels_and_items() -> None:
    reply = [b"abcde", b"9", [b"17:own:4:\xc3\xa4:1:2:x", b"17::1:ab"]]
    assert item_replies.due(reply) == [
        ItemChange("ä:1", ":2:x", None, kind="own", due=True),
        ItemChange("a", "b", None, due=True),
    ]
    reply[2] = [b"own:2:me:0000000000000017:1:ab:c"]
    assert item_replies.owned(reply, "own:2:me:") == [("a", "b:c")]


def test_rows_of_another_owner_are_left_out() -> None:
    later = b"19:abcde::::2:1:met"
    reply = [b"abcde", b"20", [later, b"", b"9:abcde::::2:1:ustx", ROW]]
    found = [("a", "z"), ("b", "gone"), ("a", "theirs"), ("a", "x")]
    rows = item_replies.owned_rows(reply, found, "me")
    assert [(row.item, row.position.number) for row in rows] == [("x", 9), ("z", 19)]


def test_a_refusal_says_what_was_found() -> None:
    id = str(Position("abcde", 62))
    assert item_replies.conflict([b"", b"2 62:abcde"]) == (2, id)
    assert item_replies.conflict([b"", b"2 "]) == (2, "")
    index, bounds, before, after = item_replies.full([b"", b"1 5 600 3 400 6 700"])
    assert (index, before, after) == (1, (3, 400), (6, 700))
    assert (bounds.items, bounds.item_bytes) == (5, 600)


def test_what_is_published_is_rows_or_a_horizon() -> None:
    rows = item_replies.pushed("a", b"abcde:9:i4:2:ty1 3,1 0,2 1:xy\xc3\xa4z:1:")
    assert rows.epoch == "abcde" and rows.entries == [
        Entry(9, 4, "a", "ty", b"z:1", item="x"),
        Entry(10, 9, "a", "ty", b"", item="y"),
        Entry(11, 10, "a", "ty", b":", item="ä"),
    ]
    assert item_replies.pushed("a", b"abcde:9:h:7") == ("abcde", [], 7)
    others = (
        *(b"abcde:9:4:2:ty1 1:xz", b"junk", b"", b"a:b:h:c", b"abcde:9:i4:2:ty1:xz"),
        *(
            b"abcde:9:ix:2:ty1 1:xz",
            b"abcde:9:i4:2:ty",
            b"abcde:9:i4:2:ty:",
            b"a:9:i4:2:ty1 :",
        ),
    )
    for other in others:
        with pytest.raises(ValueError):
            item_replies.pushed("a", other)
