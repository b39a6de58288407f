"""The events that the AI SDK reads as a message."""

from __future__ import annotations

import collections.abc as cabc

from flask_push import ai_sdk


def test_a_text_is_one_message_with_an_id() -> None:
    assert [*ai_sdk.text(["Hel", "", "lo"], message_id="m1")] == [
        {"type": "start", "messageId": "m1"},
        {"type": "text-start", "id": "text"},
        {"type": "text-delta", "id": "text", "delta": "Hel"},
        {"type": "text-delta", "id": "text", "delta": ""},
        {"type": "text-delta", "id": "text", "delta": "lo"},
        {"type": "text-end", "id": "text"},
        {"type": "finish", "finishReason": "stop"},
    ]


def test_the_model_stops_when_its_text_is_closed() -> None:
    closed = []

    def model() -> cabc.Iterator[str]:
        try:
            yield "Hel"
            yield "lo"
        finally:
            closed.append(True)

    source = model()
    chunks = ai_sdk.text(source, message_id="m1")
    while next(chunks).get("delta") != "Hel":
        assert not closed
    assert isinstance(chunks, cabc.Generator)
    chunks.close()
    assert closed and next(source, None) is None


def test_an_error_of_the_model_comes_before_the_end() -> None:
    def model() -> cabc.Iterator[str]:
        yield "Hel"
        raise OverflowError

    found = []
    try:
        for chunk in ai_sdk.text(model(), message_id="m1"):
            found.append(chunk["type"])
    except OverflowError:
        found.append("failed")
    assert found == ["start", "text-start", "text-delta", "failed"]
