"""The format: the vectors of the specification and of many parsers' bugs, and the
properties that any encoder and parser have to keep."""

from __future__ import annotations

import tracemalloc
import typing as t
import warnings

import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st
from support.sse_vectors import BOM
from support.sse_vectors import chunkings
from support.sse_vectors import VECTORS

from flask_push import sse


@pytest.mark.parametrize("name", VECTORS)
def test_the_parser_reads_each_vector_however_it_is_cut(name: str) -> None:
    stream, expected = VECTORS[name]
    for chunks in chunkings(stream):
        parser = sse.Parser()
        events = [event for chunk in chunks for event in parser.feed(chunk)]
        assert [(e.type, e.data, e.id) for e in events] == expected, chunks


@pytest.mark.parametrize(
    ("stream", "last_event_id"),
    [
        (b"id: 1\ndata: a\n\nid: 2\n\n", "2"),
        (b"id: 1\ndata: a\n\nid: 2\ndata: lost", "1"),
        (b"id: 1\ndata: a\n\nid: 2\n", "1"),
    ],
)
def test_an_id_takes_effect_at_the_end_of_its_block(
    stream: bytes, last_event_id: str
) -> None:
    for chunks in chunkings(stream):
        parser = sse.Parser()
        for chunk in chunks:
            parser.feed(chunk)
        assert parser.last_event_id == last_event_id


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry: 1000\n", 1000),
        (b"retry: 03000\n", 3000),
        (b"retry:1000x\n", None),
        (b"retry: -1\n", None),
        (b"retry: 1e3\n", None),
        (b"retry: 999999999999999\n", 999999999999999),
        (b"retry: 9999999999999999\n", None),
        (b"retry: " + b"9" * 5000 + b"\n", None),
        (b"retry\n", None),
        (b"retry: \n", None),
        ("retry: \u0663\n".encode(), None),
    ],
)
def test_retry_is_digits_and_needs_no_blank_line(line: bytes, retry: int | None) -> None:
    parser = sse.Parser()
    assert parser.feed(line) == []
    assert parser.retry == retry


def test_a_reset_parser_keeps_what_a_client_reconnects_with() -> None:
    parser = sse.Parser()
    parser.feed(b"retry: 700\nid: 1\ndata: a\n\nid: 2\nevent: x\ndata: half")
    parser.reset()
    (event,) = parser.feed(BOM + b"data: b\n\n")
    assert (event.type, event.data, event.id) == ("message", "b", "1")
    assert parser.retry == 700


def test_ten_megabytes_of_data_in_two_chunks() -> None:
    parser = sse.Parser()
    half = b"x" * (5 * 2**20)
    assert parser.feed(b"data: " + half) == []
    (event,) = parser.feed(half + b"\n\n")
    assert len(event.data) == 10 * 2**20


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 99, b"data: 123456\n" * 9, b":" * 99]
)
def test_an_event_that_is_too_large_is_an_error_and_not_cut_short(stream: bytes) -> None:
    for chunks in chunkings(b"id: 1\ndata: a\n\nid: 2\n" + stream + b"\n\n"):
        parser = sse.Parser(max_size=50)
        events = []
        with pytest.raises(sse.ParseError):
            for chunk in [*chunks, b"data: b\n\n"]:
                events += parser.feed(chunk)
        assert [event.data for event in events] == ["a"]
        assert parser.last_event_id == "1"
        with pytest.raises(sse.ParseError):
            parser.feed(b"\n")


@pytest.mark.parametrize("field", [b"id", b"event"])
def test_an_id_and_a_type_of_8_kilobytes_are_read_and_longer_ones_are_an_error(
    field: bytes,
) -> None:
    longest = b"x" * 8192
    parser = sse.Parser()
    (event,) = parser.feed(b"%b: %b\ndata: a\n\n" % (field, longest))
    assert longest.decode() in (event.id, event.type)
    stream = b"id: 1\ndata: a\n\n%b: %bx\ndata: b\n\n" % (field, longest)
    for chunks in [stream], [stream[:9000], stream[9000:]]:
        parser = sse.Parser()
        events = []
        with pytest.raises(sse.ParseError, match="more than 8,192 bytes"):
            for chunk in [*chunks, b"data: c\n\n"]:
                events += parser.feed(chunk)
        assert [event.data for event in events] == ["a"]
        assert parser.last_event_id == "1"


@pytest.mark.parametrize(
    "line",
    [b"data\n", b"data:\n", b"data: x\n", b"data:ab\n", b"data: " + b"y" * 60 + b"\n"],
)
def test_an_unfinished_event_takes_no_more_memory_than_its_size_allows(line: bytes) -> None:
    size = 2**17
    parser = sse.Parser(max_size=size)
    chunk = line * (4096 // len(line))
    tracemalloc.start()
    try:
        with pytest.raises(sse.ParseError):
            while True:
                parser.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size


def test_an_event_of_the_largest_size_takes_six_times_its_size_to_read() -> None:
    size = 2**20
    # One character that takes four bytes makes all of them take four.
    data = "\U0001f600".encode() + b"x" * (size - 100)
    parser = sse.Parser(max_size=size)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 65536):
            lead = b"" if start else b"data:"
            parser.feed(lead + data[start : start + 65536])
        (event,) = parser.feed(b"\n\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(event.data) == len(data) - 3
    assert peak < 7 * size


def test_an_id_of_ours_names_the_channel() -> None:
    (event,) = sse.Parser().feed(b"id: kQ3fZ-8DnrojJK3.caf~c3~a9\ndata: x\n\n")
    assert event.channel == "café"
    (event,) = sse.Parser().feed(b"id: 1.5\ndata: x\n\n")
    assert event.channel == ""


def test_an_id_of_ours_names_the_item() -> None:
    for id in "kQ3fZ-8DnrojJK3.p.caf~c3~a9", "kQ3fZ-8DnrojJK3.p.caf~c3~a9.8DnrojJ":
        (event,) = sse.Parser().feed(f"id: {id}\ndata: x\n\n".encode())
        assert (event.id, event.channel, event.item) == (id, "p", "café")


def test_an_event_without_an_id_has_no_channel_and_no_item() -> None:
    """It keeps the id of the event before it, as in a browser."""
    parser = sse.Parser()
    first, second = parser.feed(b"id: aaaaa-1.p.i\ndata: x\n\nid: 2\0\ndata: y\n\n")
    assert (first.channel, first.item) == ("p", "i")
    assert (second.id, second.channel, second.item) == ("aaaaa-1.p.i", "", "")
    parser.feed(b"id: aaaaa-2.p.i\n")
    parser.reset()
    (third,) = parser.feed(b"data: z\n\n")
    assert (third.id, third.channel, third.item) == ("aaaaa-1.p.i", "", "")


@pytest.mark.parametrize(
    ("id", "channel", "item"),
    [
        (b"kQ3fZ-8DnrojJK3.a.x", "a", "x"),
        (b"kQ3fZ-8DnrojJK3.caf~c3~a9.x~2ey.8Dt8Wm0aB", "café", "x.y"),
        (b"kQ3fZ-8DnrojJK3.a", "a", ""),
        (b"kQ3fZ-8DnrojJK3", "", ""),
        (b"1.5.7", "", ""),
    ],
)
def test_the_parser_knows_the_item_of_an_event(id: bytes, channel: str, item: str) -> None:
    (event,) = sse.Parser().feed(b"id: " + id + b'\ndata: {"n": 1}\n\n')
    assert (event.channel, event.item, event.json) == (channel, item, {"n": 1})


# The encoder.


def test_an_event_as_bytes() -> None:
    assert sse.encode("hi") == b"data: hi\n\n"
    frame = sse.encode("a\r\nb\rc\nd", type="said", id="7", retry=2000)
    assert frame == b"id: 7\nretry: 2000\nevent: said\n" + (
        b"data: a\ndata: b\ndata: c\ndata: d\n\n"
    )


def test_empty_data_is_an_event_and_no_data_is_none() -> None:
    assert sse.encode("") == b"data: \n\n"
    assert sse.encode(None) == b""
    assert sse.encode(retry=500) == b"retry: 500\n"
    assert sse.HEARTBEAT == b":\n"
    assert sse.encode("x", type="message") == b"data: x\n\n"


def test_data_keeps_its_first_space_and_its_last_newline() -> None:
    assert sse.encode(" a\n") == b"data:  a\ndata: \n\n"


@pytest.mark.parametrize("kwargs", [{"id": "1"}, {"type": "x"}])
def test_encode_needs_data(kwargs: dict[str, str]) -> None:
    with pytest.raises(ValueError, match='data=""'):
        sse.encode(None, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "type", ["a\nb", "a\rb", "a\0b", "\n", "open", "error", "", None, 5]
)
def test_a_type_that_would_break_a_stream_or_a_client_is_refused(type: t.Any) -> None:
    with pytest.raises(ValueError):
        sse.encode("x", type=type)


@pytest.mark.parametrize(
    "id", ["a\nb", "a\r", "a\0", "", " a", "é", "a b", "x" * 193, "(1)"]
)
def test_an_id_that_a_browser_would_not_send_back_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="send"):
        sse.encode("x", id=id)


@pytest.mark.parametrize("retry", [0, 499, -1, True, 1000.0, "1000"])
def test_retry_is_half_a_second_or_more(retry: t.Any) -> None:
    with pytest.raises(ValueError, match="500"):
        sse.encode("x", retry=retry)


@pytest.mark.parametrize("kwargs", [{"data": "\ud800"}, {"data": "", "type": "\ud800"}])
def test_a_lone_surrogate_is_refused(kwargs: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        sse.encode(**kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("type", ["t" * 257, "é" * 129, "t" * 10_000])
def test_a_type_that_is_too_long_is_refused_and_not_cached(type: str) -> None:
    kept = sse.type_line.cache_info().currsize
    with pytest.raises(ValueError, match="256 at most") as refused:
        sse.encode("x", type=type)
    assert len(str(refused.value)) < 300
    assert sse.type_line.cache_info().currsize == kept
    assert sse.encode("x", type=type[:128]).startswith(b"event: ")


def test_a_type_that_polyfills_dispatch_themselves_gets_a_warning() -> None:
    sse.type_line.cache_clear()
    with pytest.warns(UserWarning, match="load"):
        sse.encode("x", type="load")


texts = st.text(st.characters(exclude_categories=["Cs"]))
# Line breaks of all kinds, and bytes that mean something, more often than chance has it.
streams = st.lists(
    st.sampled_from(
        ["\r", "\n", "\r\n", "data", "id", "event", ":", " ", "\0", "\u2028", "é"]
    )
    | texts
).map("".join)
ids = st.from_regex(r"[0-9A-Za-z._~-]{1,192}", fullmatch=True)


def is_type(type: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sse.check_type(type)
        except ValueError:
            return False
    return True


@given(data=streams, type=streams | st.just("message"), id=ids | st.none(), cuts=st.data())
def test_the_parser_reads_any_chunking_of_encoded_events(
    data: str, type: str, id: str | None, cuts: st.DataObject
) -> None:
    assume(is_type(type))
    stream = sse.encode(data, type=type, id=id)
    assert b"\r" not in stream
    assert stream.endswith(b"\n\n")
    assert stream.count(b"\n\n") == 1
    at = sorted(cuts.draw(st.lists(st.integers(0, len(stream)))))
    parser = sse.Parser()
    events = []
    for start, end in zip([0, *at], [*at, len(stream)], strict=True):
        events += parser.feed(stream[start:end])
    (event,) = events
    plain = data.replace("\r\n", "\n").replace("\r", "\n")
    assert (event.type, event.data, event.id) == (type, plain, id or "")


@given(data=streams, type=streams, id=streams)
def test_nothing_in_an_event_can_add_a_field_or_an_event(
    data: str, type: str, id: str
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = sse.encode(data, type=type, id=id)
    except ValueError:
        return
    parser = sse.Parser()
    assert len(parser.feed(stream + b"data: next\n\n")) == 2
    assert parser.retry is None
    names = [line.partition(b":")[0] for line in stream.split(b"\n") if line]
    assert set(names) <= {b"id", b"event", b"data"}
    assert names.count(b"id") <= 1 and names.count(b"event") <= 1


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_break_the_parser(chunks: list[bytes]) -> None:
    parser = sse.Parser()
    whole = sse.Parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    assert events == whole.feed(b"".join(chunks))
    assert parser.last_event_id == whole.last_event_id
    assert parser.retry == whole.retry


@given(streams)
def test_sent_size_is_the_size_on_the_wire(text: str) -> None:
    data = text.encode()
    assert len(sse.frame(b"", data)) == len(b"data: \n\n") + sse.sent_size(data)
