"""What Flask-Push itself sends on a stream: the head, and events that begin with ``push:``.

All bytes of a stream that no app has published are made here. The page *The wire* documents
the formats, and a test compares the two.
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import json
import typing as t

from .. import sse
from .._event import base62
from .._event import escape
from .._event import escape_item
from .._event import Event
from .._event import GAP
from .._event import MAX_NUMBER
from .._event import Position
from .._event import UNSET
from .channel import ItemFrame
from .event_frame import check_size

#: Types and channels with this prefix belong to Flask-Push. ``publish`` refuses them.
RESERVED = "push:"

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # no-transform: HAProxy and CDNs then neither compress nor buffer.
    "Cache-Control": "no-store, no-transform",
    # nginx, and proxies that imitate it, then send every event at once.
    "X-Accel-Buffering": "no",
}

#: Says why a stream is relayed. Only relayed streams have it.
RELAY = "X-Push-Relay"

#: Headers about the connection between the app and its client (RFC 9110, 7.6.1), and about
#: the length of a body. The code that writes the stream's head sets these itself.
HOP_BY_HOP = frozenset(
    {
        *("connection", "content-length", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
#: Headers that a stream's head never takes from the view or from ``after_request``. They
#: describe a body that was compressed, measured or cached there, and not the stream.
NOT_OF_A_STREAM = HOP_BY_HOP | {
    *("accept-ranges", "content-digest", "content-encoding", "content-md5"),
    *("content-range", "digest", "etag", "last-modified", "repr-digest"),
}

#: The body of the response to a request for a plain wire that can't be sent now.
NOT_NOW = b"The server can't send this stream now. Try again in a few seconds.\n"
# Headers that only a stream has.
_OF_A_STREAM = frozenset(
    {"content-type", "transfer-encoding", "x-vercel-ai-ui-message-stream"}
)


def check_type(event_type: str) -> None:
    """:raises ValueError: If no client could listen for the type, or if it is reserved."""
    sse.check_type(event_type)
    if event_type.startswith(RESERVED):
        raise ValueError(f"Types that begin with {RESERVED!r} are Flask-Push's own.")


def head(
    status: str,
    headers: cabc.Iterable[tuple[str, str]],
    date: str,
    chunked: bool = False,
) -> bytes:
    """The head of a response whose body ends with the connection, so that it means
    the same to HTTP/1.0 and HTTP/1.1 clients.

    :param chunked: Whether the body is sent in chunks, which only HTTP/1.1 knows.
    """
    lines = [f"HTTP/1.1 {status}"]
    dated = False
    for name, value in headers:
        lower = name.lower()
        if lower not in HOP_BY_HOP:
            lines.append(f"{name}: {value}")
            dated = dated or lower == "date"
    if not dated:
        lines.append(f"Date: {date}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def unavailable_headers(seconds: int) -> list[tuple[str, str]]:
    """The headers of a response with :data:`NOT_NOW`, whose status is 503.

    :param seconds: After which the client may ask again. Some clients of AI protocols would
        do so by themselves, and each of these requests may begin a run. So one header
        forbids it.
    """
    return [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(NOT_NOW))),
        ("Retry-After", str(seconds)),
        ("x-should-retry", "false"),
    ]


def of_no_stream(headers: cabc.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that the app has set, without those that say that a stream follows."""
    return [(name, value) for name, value in headers if name.lower() not in _OF_A_STREAM]


def unavailable(head: bytes, seconds: int) -> bytes:
    """The response that stands for one with this head while no hub takes its stream."""
    _, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    kept = [*of_no_stream(pairs), *unavailable_headers(seconds), ("", "")]
    lines = [f"{name}: {value}" if name else "" for name, value in kept]
    start = "HTTP/1.1 503 Service Unavailable"
    return "\r\n".join([start, *lines, ""]).encode("latin-1") + NOT_NOW


def first_bytes(retry: int, visible: bool = False) -> bytes:
    """The first bytes of a stream. Firefox fires ``open`` at a stream's first byte."""
    return sse.HEARTBEAT + last_word(retry, visible)


def last_word(retry: int, visible: bool = False) -> bytes:
    """The last bytes of a stream that the hub ends. There is no blank line, so it is no
    event. A visible stream also gets an event, because ``EventSource`` hides ``retry``."""
    line = sse.encode(retry=retry)
    return line + _own("push:retry", {"milliseconds": retry}, None) if visible else line


def heartbeat(seconds: float, visible: bool = False) -> bytes:
    """The bytes for a stream that was silent for so many seconds. A visible stream gets an
    event, because ``EventSource`` hides comments."""
    if not visible:
        return sse.HEARTBEAT
    return _own("push:heartbeat", {"seconds": seconds}, None)


def opening(
    connection_id: str,
    channels: cabc.Iterable[str],
    position: Position | None,
    items: str = "",
    watch: cabc.Sequence[str] = (),
) -> bytes:
    """``push:open``. It has no position if a gap for all channels follows. A browser that
    is cut off between the two reconnects with its old id, and gets the gap again.

    :param items: ``all`` if all items follow, ``changes`` if those that the page holds are
        enough, empty if the channels have no items.
    :param watch: The channels of the rosters that it watches.
    """
    data: dict[str, t.Any]
    data = {"connection": connection_id, "channels": list(channels)}
    if items:
        data["items"] = items
    return _own("push:open", _with_rosters(data, watch), position)


def with_replay(opening: bytes, end: Position, age: int) -> bytes:
    """``push:open`` that also has the position at which the replay ends, and how many
    milliseconds ago that was."""
    data = json.dumps({"end": str(end), "age": age}, separators=(",", ":"))
    return opening.removesuffix(b"}\n\n") + f",{data[1:]}\n\n".encode()


def gap(
    channels: cabc.Iterable[str], reason: str, wait: float, position: Position | None
) -> bytes:
    """``push:gap``: events of these channels, up to the position, may be lost."""
    data = {"channels": list(channels), "reason": reason, "wait": round(wait, 3)}
    return _own(GAP, data, position)


def disconnect(reason: str) -> bytes:
    """``push:disconnect``: the app has ended this stream. It has no position, so that the
    browser keeps its own if its view grants it another stream."""
    return _own("push:disconnect", {"reason": reason}, None)


def expired() -> bytes:
    """``push:expired``: the signed address of this stream is no longer valid. It has no
    position, so that the browser resumes with another address where it was."""
    return _own("push:expired", {}, None)


def probe(channel: str, word: str) -> Event:
    """``push:doctor``, which is not stored. The doctor looks how it arrives."""
    data = json.dumps({"probe": word}, separators=(",", ":"))
    return Event(channel, data, "push:doctor", store=False)


def all_items(channels: cabc.Iterable[str], watch: cabc.Sequence[str] = ()) -> bytes:
    """``push:items``: all items of these channels follow, and all members of these rosters.
    A page forgets those that it has.

    It has no position. A browser that is cut off after it gets all items again.
    """
    return _own("push:items", _with_rosters({"channels": list(channels)}, watch), None)


def whole(
    channels: cabc.Iterable[str], position: Position, watch: cabc.Sequence[str] = ()
) -> bytes:
    """``push:whole``: each item is as it was at the position, or a change of it follows.

    A page that has got this, and every event since, sends the word ``holds`` when it
    reconnects, and gets changes only.
    """
    names = list(channels)
    data = {"channels": names, "holds": holds(position.epoch, names, watch)}
    return _own("push:whole", _with_rosters(data, watch), position)


def holds(epoch: str, channels: cabc.Iterable[str], watch: cabc.Sequence[str] = ()) -> str:
    """The word of a page that holds all items of exactly these channels in this epoch, and
    all members of exactly these rosters."""
    names: list[t.Any] = [epoch, *sorted(channels)]
    text = json.dumps([*names, sorted(watch)] if watch else names)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


# Bytes from which readers share the end of an item's frame. It takes longer to make such a
# frame, so shorter ones are copied.
_LONG_TAIL = 4096


def item_tail(
    channel: str, item: str, type: str, data: bytes, number: int, max_bytes: int
) -> bytes:
    """The frame of an item, behind the position in its id.

    :param max_bytes: How many bytes of data it may have, as they are sent.
    :raises ValueError: If the item breaks the rules: another program has stored it.
    """
    if len(data) * 7 > max_bytes:
        check_size(data, max_bytes)
    about = f".{escape(channel)}.{escape_item(item)}.{base62(number)}\n".encode()
    return sse.frame(about + sse.type_line(type), data)


def unset_tail(channel: str, item: str, number: int) -> bytes:
    """``push:unset``: the item is gone. As :func:`item_tail`."""
    data = to_json({"channel": channel, "item": item}).encode()
    return item_tail(channel, item, UNSET, data, number, MAX_NUMBER)


def change(position: str, tail: bytes) -> bytes:
    """The frame of an item that has changed. It has a number of its own for its id."""
    about, _, rest = tail.partition(b"\n")
    name = about[: about.rindex(b".")]
    frame = b"".join((b"id: ", position.encode(), name, b"\n", rest))
    return frame if len(tail) < _LONG_TAIL else ItemFrame.of(frame, tail, len(rest))


def one_of_all(position: str, tail: bytes) -> bytes:
    """The frame of an item that is sent with all others.

    :param position: That of the reader's logs, so that it resumes there.
    """
    frame = b"".join((b"id: ", position.encode(), tail))
    return frame if len(tail) < _LONG_TAIL else ItemFrame.of(frame, tail, len(tail))


#: The functions of :mod:`json` would make an encoder for each call.
to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _with_rosters(data: dict[str, t.Any], watch: cabc.Sequence[str]) -> dict[str, t.Any]:
    return {**data, "watch": list(watch)} if watch else data


def _own(event_type: str, data: dict[str, t.Any], position: Position | None) -> bytes:
    return sse.encode(
        to_json(data),
        type=event_type,
        id=None if position is None else str(position),
    )
