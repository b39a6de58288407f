"""Texts of an event stream, and what they mean."""

from __future__ import annotations

import random
import typing as t

BOM = b"\xef\xbb\xbf"


# (type, data, last id) for each event.
Expected = list[tuple[str, str, str]]


def message(*data: str) -> Expected:
    return [("message", text, "") for text in data]


VECTORS: dict[str, tuple[bytes, Expected]] = {
    "one event": (b"data: a\n\n", message("a")),
    "the space is optional": (b"data:a\n\n", message("a")),
    "one space is removed": (b"data:  a\n\n", message(" a")),
    "a tab is not a space": (b"data:\ta\n\n", message("\ta")),
    "lines are joined": (b"data: a\ndata:\ndata: b\n\n", message("a\n\nb")),
    "data without a colon": (b"data\n\ndata\ndata\n\ndata:\n", message("", "\n")),
    "a leading empty line is kept": (b"data:\ndata: x\n\n", message("\nx")),
    "mixed line ends": (
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
        message("a", "b", "c"),
    ),
    "CR LF is one line end": (b"data: a\r\ndata: b\r\n\r\n", message("a\nb")),
    "a BOM is removed": (BOM + b"data: a\n\n", message("a")),
    "one BOM is removed": (BOM + BOM + b"data:1\n\ndata:2\n\n", message("2")),
    "a BOM in data stays": (b"data: " + BOM + b"a\n\n", message("\ufeffa")),
    "comments are ignored": (b": c\n\n:\n:\0\n", []),
    "comments within an event": (b"data: 1\n: mid\ndata: 2\n\n", message("1\n2")),
    "the type is the event's": (
        b"event: x\ndata: a\n\ndata: b\n\n",
        [("x", "a", ""), ("message", "b", "")],
    ),
    "a type without data is dropped": (b"event: x\n\ndata: b\n\n", message("b")),
    "an empty type is message": (b"event: \ndata: a\n\n", message("a")),
    "the last type counts": (b"event: a\nevent: b\ndata: c\n\n", [("b", "c", "")]),
    "an id stays": (
        b"id: 1\ndata: a\n\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "1")],
    ),
    "an empty id resets": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "")],
    ),
    "an id with NUL is ignored": (
        b"id: 1\ndata: a\n\nid: 2\0x\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "1")],
    ),
    "fields are case-sensitive and exact": (
        b"Data: a\nDATA: b\ndata : c\n data: d\nfoo: x\nfoo\ndata: ok\n\n",
        message("ok"),
    ),
    "only the first colon counts": (b"data: a:b: c\n\n", message("a:b: c")),
    "NUL in data stays": (b"data: \0\n\n", message("\0")),
    "other line breaks are text": (
        "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
        message("a\u2028b\u0085c\x0bd\x0ce"),
    ),
    "invalid UTF-8 is replaced": (b"data: \xff\n\n", message("\ufffd")),
    "four bytes of UTF-8": ("data: \U0001f600\n\n".encode(), message("\U0001f600")),
    "an unfinished event is dropped": (b"data: a", []),
    "an unfinished block is dropped": (b"data: a\n", []),
    "blank lines are nothing": (b"\n\n\n\ndata: a\n\n", message("a")),
    "a hundred in one chunk": (
        b"".join(b"data: %d\n\n" % n for n in range(100)),
        message(*map(str, range(100))),
    ),
    "open and error are types to a parser": (
        b"event: open\ndata: o\n\nevent: error\ndata: e\n\n",
        [("open", "o", ""), ("error", "e", "")],
    ),
}


def chunkings(stream: bytes) -> t.Iterator[list[bytes]]:
    yield [stream]
    for size in 1, 2, 3:
        yield [stream[i : i + size] for i in range(0, len(stream), size)]
    rng = random.Random(stream)
    for _ in range(20):
        cuts = sorted(rng.choices(range(len(stream) + 1), k=4))
        ends = [*cuts, len(stream)]
        yield [stream[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
