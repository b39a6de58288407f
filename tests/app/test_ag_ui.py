"""The events that clients of AG-UI read as a message."""

from __future__ import annotations

from flask_push import ag_ui


def test_a_text_is_one_message_of_one_run() -> None:
    said = ag_ui.text(["Hel", "lo"], thread_id="t", run_id="r", message_id="m")
    assert [*said] == [
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hel"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "lo"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
        {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
    ]


def test_empty_pieces_are_left_out() -> None:
    """Its clients refuse them."""
    said = ag_ui.text(["", "a", ""], thread_id="t", run_id="r", message_id="m")
    assert [chunk["delta"] for chunk in said if "delta" in chunk] == ["a"]
