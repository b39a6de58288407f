"""Reading what a server answers: every cut gives the same, and nothing that a server sends
makes more of it than a bounded piece."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import typing as t
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gzips import flushed
from support.gzips import zipped

from flask_push.client.answer import Answer
from flask_push.client.answer import BadAnswer
from flask_push.client.answer import MAX_HEAD
from flask_push.client.answer import PIECE

OK = b"HTTP/1.1 200 OK\r\n"


def read(chunks: t.Iterable[bytes], method: str = "GET") -> tuple[Answer, bytes]:
    """What the chunks make. All pieces together may be large here, none is alone."""
    answer, body = Answer(method), b""
    for chunk in chunks:
        answer.feed(chunk)
        while piece := answer.take():
            assert len(piece) <= max(PIECE, len(chunk))
            body += piece
    return answer, body


def cuts(data: bytes) -> t.Iterator[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    rng = random.Random(data)
    for _ in range(5):
        ends = sorted(rng.choices(range(len(data) + 1), k=4))
        yield [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def test_a_head_is_read() -> None:
    lines = b"HTTP/1.0  404 Not  Here\r\nA: 1\r\na:2 \r\nB:\r\nbad line\r\n C: 3\r\n\r\n"
    for chunks in cuts(lines):
        answer, _ = read(chunks)
        assert answer.head is not None
        assert (answer.head.version, answer.head.status) == ("HTTP/1.0", 404)
        assert answer.head.reason == "Not  Here"
        assert answer.head.headers["a"] == "1, 2"
        assert answer.head.headers["b"] == ""
        assert "c" not in answer.head.headers, "it goes on in the line before"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_may_end_with_lf_alone(end: bytes) -> None:
    answer, body = read([end.join([b"HTTP/1.1 200", b"A: b", b"", b"x"])])
    assert answer.head is not None and answer.head.headers == {"a": "b"}
    assert (answer.head.reason, body) == ("", b"x")


def test_interim_answers_are_skipped() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    for chunks in cuts(hints + OK + b"A: b\r\n\r\nx"):
        answer, body = read(chunks)
        assert answer.head is not None and answer.head.status == 200
        assert answer.head.headers == {"a": "b"}
        assert body == b"x"


@pytest.mark.parametrize(
    ("status", "method"),
    [("101 S", "GET"), ("204 N", "GET"), ("304 N", "GET"), ("200 OK", "HEAD")],
)
def test_some_answers_have_no_body(status: str, method: str) -> None:
    data = f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nabc"
    answer, body = read([data.encode()], method)
    assert answer.done and body == b""


@pytest.mark.parametrize(
    ("rest", "body", "done"),
    [
        (b"\r\nabc", b"abc", False),
        (b"Content-Length: 3\r\n\r\nabcdef", b"abc", True),
        (b"Content-Length: 4\r\n\r\nabc", b"abc", False),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabcd", b"abc", True),
        (b"Content-Length: 0\r\n\r\nabc", b"", True),
        (
            b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: r\r\n\r\n",
            b"abc",
            True,
        ),
        (
            b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n3\r\nabc\r\n",
            b"abc",
            False,
        ),
        (b"Transfer-Encoding: chunked\r\n\r\n003 \t\r\nabc\r\n00\r\n", b"abc", True),
        (b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\n", b"abc", True),
    ],
)
def test_a_body_is_read_however_it_is_cut(rest: bytes, body: bytes, done: bool) -> None:
    for chunks in cuts(OK + rest):
        answer, found = read(chunks)
        assert (found, answer.done) == (body, done), chunks
        assert answer.ends_with_connection == rest.startswith(b"\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc1\r\nd",
        OK + b"Content-Encoding: gzip\r\n\r\nnonsense",
    ],
)
def test_an_invalid_answer_is_an_error_however_it_is_cut(data: bytes) -> None:
    for chunks in cuts(data):
        with pytest.raises(BadAnswer):
            read(chunks)


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"x",
        b"A: b\r\n",
        b"HTTP/1.1 200 OK",
        b"A:\r\n b\r\n",
    ],
)
def test_a_head_has_64_kilobytes_at_most(endless: bytes) -> None:
    answer, sent = Answer(), 0
    with pytest.raises(BadAnswer):
        answer.feed(OK if not endless.startswith(b"HTTP") else b"")
        while sent < 10 * MAX_HEAD:
            answer.feed(endless)
            sent += len(endless)
    assert sent <= MAX_HEAD


def test_the_line_before_a_chunk_has_4_kilobytes_at_most() -> None:
    for line in b"1;" + b"x" * 5000, b"0" * 5000:
        for chunks in cuts(OK + b"Transfer-Encoding: chunked\r\n\r\n" + line):
            with pytest.raises(BadAnswer, match="4,096 bytes"):
                read(chunks)


# Compression.


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("X-GZip, identity", "gzip"),
        ("identity", ""),
        ("", ""),
        ("br", "br"),
        ("gzip, gzip", "gzip, gzip"),
    ],
)
def test_content_codings_have_the_names_of_rfc_9110(name: str, coding: str) -> None:
    answer, _ = read([OK + f"Content-Encoding: {name}\r\n\r\n".encode()])
    assert answer.head is not None and answer.head.coding == coding


@pytest.mark.parametrize("size", [0, 1, 100, PIECE, PIECE + 1, 3 * PIECE])
def test_a_compressed_body_is_read_however_it_is_cut(size: int) -> None:
    plain = random.Random(size).randbytes(size // 2) + b"x" * (size - size // 2)
    head = OK + b"Content-Encoding: gzip\r\n"
    whole, open = zipped(plain), flushed(plain)
    for packed, done in (whole, True), (open, False):
        answer, body = read([head + b"\r\n", packed])
        assert (body, answer.done) == (plain, done)
        chunked = b"".join(
            b"%x\r\n%b\r\n" % (len(packed[at : at + 7]), packed[at : at + 7])
            for at in range(0, len(packed), 7)
        )
        head_of_chunks = head + b"Transfer-Encoding: chunked\r\n\r\n"
        answer, body = read([head_of_chunks + chunked + b"0\r\n\r\n"])
        assert (body, answer.done) == (plain, True)
    for chunks in cuts(head + b"\r\n" + whole) if size < 1000 else ():
        answer, body = read(chunks)
        assert (body, answer.done) == (plain, True)


def test_the_end_of_the_compressed_body_is_its_end() -> None:
    """As for browsers, which read no second member of a gzip file either."""
    head = OK + b"Content-Encoding: gzip\r\n\r\n"
    answer, body = read([head + zipped(b"one") + zipped(b"two")])
    assert (body, answer.done) == (b"one", True)
    tracemalloc.start()
    try:
        for _ in range(1000):
            answer.feed(b"x" * 65536)
            assert answer.take() == b""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_small_answer_never_becomes_a_large_one() -> None:
    bomb = flushed(b"data: x\n\n" * 2**21)
    assert len(bomb) < 2**17
    answer = Answer()
    tracemalloc.start()
    try:
        answer.feed(OK + b"Content-Encoding: gzip\r\n\r\n" + bomb)
        taken = 0
        while piece := answer.take():
            taken += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken == 9 * 2**21
    assert peak < 2**20


def test_bytes_that_decompress_to_nothing_are_skipped() -> None:
    nothing = b"\0\0\0\xff\xff" * 10000
    data = gzip.compress(b"")[:10] + nothing + zlib.compress(b"", wbits=-15)
    answer, body = read([OK + b"Content-Encoding: gzip\r\n\r\n" + data])
    assert body == b"" and not answer.done


@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [
                *(OK, b"\r\n", b"\n", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
                *(b"Content-Encoding: gzip", zipped(b"hello" * 99), b"5\r\nhello", b"0"),
                b"HTTP/1.1 103 x\r\n\r\n",
            ]
        )
    ).map(b"".join),
    st.data(),
)
def test_any_bytes_are_an_answer_or_an_error_and_cuts_do_not_matter(
    data: bytes, more: st.DataObject
) -> None:
    def outcome(chunks: list[bytes]) -> t.Any:
        try:
            answer, body = read(chunks)
        except BadAnswer:
            return "error"
        return body, answer.done, answer.head

    at = sorted(more.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    chunks = [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
    assert outcome([data]) == outcome(chunks)
