"""Which node of a Redis Cluster has a store. No input or output.

All keys and channels of a store share one hash tag, so they are in one slot, which has
one master. Any node says which; and nobody has to be right about it, for a node that is
asked for what it has not got does nothing, and says who has it.

While a slot is moved, some of its keys are on one node and some on another. Both refuse
a script that needs a key they have not got, before it begins. Where they say who may
have it (``ASK``), nobody follows: half of a store is no store, and what a script left
there would be in the way of what is still to come. It is asked again, until it is moved.
"""

from __future__ import annotations

import threading
import typing as t
from binascii import crc_hqx

_SLOTS = 16384

Address = tuple[str, int]


def address(text: str, port: int) -> Address:
    """Of ``host:port``, or of a host alone, which may be an IPv6 one in brackets."""
    host, colon, after = text.rpartition(":")
    if colon and not after.endswith("]"):
        text, port = host, int(after)
    return text.strip("[]"), port


class Nodes:
    """Where to ask. Any thread.

    :param tag: The hash tag of all keys.
    """

    def __init__(self, given: list[Address], tag: str) -> None:
        self.slot = crc_hqx(tag.encode(), 0) % _SLOTS
        self._given = given
        #: Who is asked, one after the other.
        self.known = given
        self._named: Address | None = None
        self._lock = threading.Lock()

    def named(self) -> Address | None:
        """Who was named last by a node that has not got the slot. Not twice: it may be
        gone as well."""
        with self._lock:
            named, self._named = self._named, None
            return named

    def learn(self, reply: list[t.Any], asked: Address) -> Address | None:
        """The master of the slot, by what a node says to ``CLUSTER SLOTS``."""
        found, master = [asked], None
        for first, last, *nodes in reply:
            # A node that does not know its own name leaves it out.
            places = [(_text(node[0]) or asked[0], int(node[1])) for node in nodes]
            found += places
            if places and int(first) <= self.slot <= int(last):
                master = places[0]
        if master is not None:
            self.known = list(dict.fromkeys([*found, *self._given]))
        return master

    def moved(self, place: str) -> None:
        """A node says that it is there."""
        host, _ = found = address(place, 0)
        with self._lock:
            self._named = found if _text(host) else None

    def doubt(self) -> None:
        """What was said last may be wrong: somebody else is asked first."""
        self.known = [*self.known[1:], *self.known[:1]]


def _text(host: bytes | str | None) -> str:
    host = host.decode() if isinstance(host, bytes) else host
    return "" if host in (None, "?") else host


def addresses(text: str, port: int) -> list[Address]:
    return [address(part, port) for part in text.split(",")]
