"""The messages that ask a hub for its streams."""

from __future__ import annotations

from flask_push._ipc.listing_protocol import ListStreams
from flask_push._ipc.protocol import KINDS
from flask_push._ipc.protocol import Reader


def test_no_field_of_a_listing_is_taken_for_another_kind() -> None:
    """All of them are inside of the value of the key."""
    asked = ListStreams(user="ann", channel="chat")
    assert list(asked.to_json()) == ["list_streams"]
    assert Reader("hub").read(asked.to_json()) == asked
    assert "list_streams" in KINDS["hub"] and "stream_page" in KINDS["worker"]


def test_a_field_of_a_newer_version_is_ignored_in_a_listing() -> None:
    asked = Reader("hub").read({"list_streams": {"most": 3, "new": 1}})
    assert asked == ListStreams(most=3)
