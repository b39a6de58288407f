"""What a stream has to do with presence."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence


@pytest.mark.parametrize(
    "presence",
    [
        NOTHING,
        StreamPresence(present=(("a", '{"name":"Ann"}'), ("b", "null"))),
        StreamPresence(watch=("a",)),
        StreamPresence((("a", "1"),), ("a", "b"), ("c",)),
    ],
)
def test_another_process_reads_what_a_stream_shows(presence: StreamPresence) -> None:
    sent = json.loads(json.dumps(presence.to_json()))
    assert StreamPresence.from_json(sent) == presence
    assert StreamPresence.from_json({**sent, "added": [1]}) == presence


def test_empty_fields_are_not_sent() -> None:
    assert NOTHING.to_json() == {} and StreamPresence.from_json({}) is NOTHING
    assert StreamPresence(watch=("a",)).to_json() == {"watch": ("a",)}


@pytest.mark.parametrize(
    ("presence", "shown"),
    [
        (NOTHING, False),
        (StreamPresence(watch=("a",)), False),
        (StreamPresence(present=(("a", "1"),)), True),
        (StreamPresence(counted=("a",)), True),
    ],
)
def test_a_stream_that_only_watches_shows_no_user(
    presence: StreamPresence, shown: bool
) -> None:
    assert presence.shown is shown


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {"present": "a"},
        {"present": ["ab"]},
        {"present": [["a"]]},
        {"present": [["a", 1]]},
        {"present": [[1, "a"]]},
        {"present": [["a", "1", "2"]]},
        {"watch": "a"},
        {"watch": [1]},
        {"counted": {"a": 1}},
        {"counted": [None]},
    ],
)
def test_a_field_of_another_type_is_refused(wrong: t.Any) -> None:
    with pytest.raises(ValueError, match="presence"):
        StreamPresence.from_json(wrong)
