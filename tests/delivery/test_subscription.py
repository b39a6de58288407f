"""Groups of readers that get the same bytes."""

from __future__ import annotations

from flask_push._delivery.channel import Frame
from flask_push._delivery.subscription import ReaderGroup


def test_a_stream_of_plain_text_is_not_affected_by_gzip() -> None:
    group = ReaderGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"")]
    assert group.pack(frames) is frames and group.code(b"a") == b"a"
