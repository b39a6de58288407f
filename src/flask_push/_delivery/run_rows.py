"""The rows of which a run consists, and their names.

A run has a number on its channel, its serial, and each attempt to write it has one. Both
together are its *tag*, with which the names of all rows of the attempt begin. So a reader
knows by its name whether a row belongs to the attempt.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

#: The kinds of items: records and events of runs, by the app's channel; runs that are no
#: longer in a record, by the app's channel and the key; processes that hold runs; and
#: runs that wait for something, by the app's channel. The last two have one channel each.
RUN, KEYS, HOLDERS, WAITS = "run", "runkey", "holders", "waits"

#: The item that is the record of a channel's runs.
NOW = "now"
#: The owner of the record of a queued run, and of the last row of a run that has ended. A
#: run that is written has its process as the owner.
QUEUED, ENDED = "queued", "ended"

#: The types of events of Flask-Push's own.
STATUS, PROGRESS = "push:run", "push:progress"

#: How many events a row has at most, and how many bytes of them, unless one has more.
MAX_PACKED, MAX_PACKED_BYTES = 1000, 64 * 1024


class Change(t.NamedTuple):
    """An item is set or unset, as by an ``ItemChange`` of a broker."""

    kind: str
    channel: str
    item: str
    data: str | None
    type: str = "message"
    owner: str = ""
    version: int | None = None
    ttl: float | None = None
    #: The id of the living row that is expected; empty if there must be none.
    expect: str | None = None
    due: bool = False


def expects(channel: str, item: str, id: str) -> Change:
    """Changes nothing: a row without a deadline is never due. But nothing is stored with it
    if the row is another one."""
    return Change(RUN, channel, item, None, expect=id, due=True)


def tag_of(serial: int, attempt: int) -> str:
    return f"{serial}.{attempt}"


def place(tag: str, index: int) -> str:
    """The item of one or several events.

    :param index: How many events the attempt had before.
    """
    return f"{tag}.{index}"


def transition(tag: str, version: int) -> str:
    """The item of the event that says the status.

    :param version: That of the record which the same transaction stores.
    """
    return f"{tag}.t{version}"


def progress(tag: str) -> str:
    """The item that is the newest progress."""
    return f"{tag}.p"


def tag_in(item: str) -> str:
    """The tag with which the name of a row begins."""
    return item.rpartition(".")[0]


def size_of(text: str) -> int:
    """How many bytes a text has."""
    return len(text) if text.isascii() else len(text.encode())


def pack(texts: cabc.Sequence[str]) -> str:
    """The data of a row that has these events: their lengths in bytes, and then all."""
    sizes = [str(size_of(text)) for text in texts]
    return f"{' '.join(sizes)}\n{''.join(texts)}"


def unpack(data: bytes) -> list[bytes]:
    """The events of a row.

    :raises ValueError: If another program has stored it.
    """
    sizes, _, rest = data.partition(b"\n")
    events, start, lengths = [], 0, [int(size) for size in sizes.split(b" ")]
    for size in lengths:
        events.append(rest[start : start + size])
        start += size
    if start != len(rest) or min(lengths) < 0:
        raise ValueError(f"{len(rest)} bytes are not events of {sizes!r:.80} bytes")
    return events
