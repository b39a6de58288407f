"""Bodies in chunks, as they are made and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.chunks import chunk
from flask_push._delivery.chunks import LAST
from flask_push._delivery.chunks import NotWhole
from flask_push._delivery.chunks import Unchunker


@given(st.lists(st.binary()), st.integers(1, 40))
def test_a_body_is_the_same_however_it_is_split(parts: list[bytes], size: int) -> None:
    sent = b"".join(map(chunk, parts)) + LAST
    reader, read = Unchunker(), b""
    for start in range(0, len(sent), size):
        assert not reader.is_whole or not sent[start:].strip(b"\r\n")
        read += reader.feed(sent[start : start + size])
    assert read == b"".join(parts)
    assert reader.is_whole


@given(st.lists(st.binary(min_size=1), min_size=1), st.data())
def test_a_body_that_was_cut_off_is_not_whole(
    parts: list[bytes], data: st.DataObject
) -> None:
    sent = b"".join(map(chunk, parts))
    cut = data.draw(st.integers(0, len(sent)))
    reader = Unchunker()
    assert b"".join(parts).startswith(reader.feed(sent[:cut]))
    assert not reader.is_whole


def test_there_is_no_chunk_without_data() -> None:
    assert chunk(b"") == b""
    assert chunk(b"hello, world") == b"c\r\nhello, world\r\n"


@pytest.mark.parametrize("sent", [b"x\r\n", b"\r\n", b"1" * 40, b"1\r\nab\r\n", b"-1\r\n"])
def test_other_bytes_are_refused(sent: bytes) -> None:
    with pytest.raises(NotWhole):
        Unchunker().feed(sent)
