"""Return tickets: with one, a browser that comes back is let in by the hub alone.

A view costs twenty times what the hub does with a stream, so when thousands come back at
once, views are what they wait for. A ticket is what a view has decided, signed, and good
for a while: which channels, whose stream it is, and its end. It is a cookie, so that the
browser's own ``EventSource`` has it, too.

It is good only for the same address of the same app, asked with the same credentials from a
page of the same origin. For a browser that has logged in or out, and so has other cookies,
the view decides again. It does so whatever is odd about a ticket; no ticket ever refuses
anything.
"""

from __future__ import annotations

import base64
import collections.abc as cabc
import hashlib
import hmac
import json
import typing as t
from dataclasses import dataclass
from urllib.parse import parse_qsl

from . import wire
from .stream import Stream

COOKIE = "push_ticket"
#: Where browsers and the libraries that imitate them put the position.
POSITIONS = ("last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id")
# What each connection has of its own in its address.
_OWN = frozenset({*POSITIONS, "connection"})
# Browsers keep cookies of 4096 bytes, and nginx takes 8192 of all that are sent at once.
_MOST = 2048
# No id is longer. Of a longer text that a browser sends, this much is none either, and the
# rest need not be carried about.
_MOST_POSITION = 256
# Bytes of a request's query and cookies beyond which the view is asked. While the hub
# compares them, it does nothing else.
_MOST_QUERY, _MOST_COOKIES = 4096, 16 * 1024
# The headers of a request that a ticket depends on, in the order of the fields of Asked.
_SENT = ("cookie", "authorization", "last-event-id", "accept-encoding", "origin", "host")
# Those that a view's response may depend on, as its Vary tells, and still have a ticket.
_BOUND = frozenset({"accept-encoding", "authorization", "cookie", "host", "origin"})
# What is said of every stream anyhow, and what is said but once.
_UNSAID = frozenset({*(key.lower() for key in wire.HEADERS), "date", "set-cookie"})


def position_of(header: str, get: cabc.Callable[[str], str | None]) -> str:
    """Where the browser was. The header is newer than the address, which stays the same
    from one connection to the next.

    :param get: What stands in the address by a name.
    """
    position = header or next(filter(None, map(get, POSITIONS)), "")
    return position[:_MOST_POSITION]


@dataclass(frozen=True)
class Asked:
    """A request for a stream, as far as a ticket is for it and no other.

    :param path: Without what it was quoted with.
    """

    path: bytes
    query: str
    # The headers, empty where there is none.
    cookie: str = ""
    authorization: str = ""
    last_event_id: str = ""
    accept_encoding: str = ""
    origin: str = ""
    host: str = ""

    @classmethod
    def of(cls, path: bytes, query: str, header: cabc.Callable[[str], str]) -> Asked:
        """
        :param header: The request's header of a name in lower case.
        """
        return cls(path, query, *map(header, _SENT))

    @property
    def position(self) -> str:
        return position_of(self.last_event_id, self._first().get)

    @property
    def connection(self) -> str:
        """What the connection is called already."""
        return self._first().get("connection", "")

    @property
    def is_large(self) -> bool:
        return len(self.query) > _MOST_QUERY or len(self.cookie) > _MOST_COOKIES

    @property
    def ticket(self) -> str:
        """The first that there is: a browser sends the one for the longest path first."""
        return next((value for name, value in self._cookies() if name == COOKIE), "")

    def mark(self, answered: cabc.Iterable[str] = ()) -> str:
        """The same for another request only if it asks for the same, with the same
        credentials.

        :param answered: The ``Set-Cookie`` headers of the response, for the next request.
        """
        cookies = self._cookies()
        for header in answered:
            name, _, value = header.partition(";")[0].strip().partition("=")
            # A cookie that was taken back is one that the next request hasn't.
            cookies = [(n, v) for n, v in cookies if n != name] + [(name, value)]
        kept = [(n, v) for n, v in cookies if v and n != COOKIE]
        # Of two with one name, which is first may decide who the user is.
        kept.sort(key=lambda pair: pair[0])
        query = [pair for pair in self._query() if pair[0] not in _OWN]
        said = json.dumps(
            [self.path.hex(), query, kept, self.authorization]
            + [self.origin, self.host.lower()]
        )
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    def _first(self) -> dict[str, str]:
        """What stands in the address by each name, first."""
        return dict(reversed(self._query()))

    def _cookies(self) -> list[tuple[str, str]]:
        pairs = (pair.strip().partition("=") for pair in self.cookie.split(";"))
        return [(name, value) for name, _, value in pairs if name]


def derive_key(secret: bytes, app: str, store: str) -> bytes:
    """The key for the tickets of one app. It opens no other app that has the same secret,
    and nothing else that the secret does.

    :param app: Its name.
    :param store: The URL of its store.
    """
    words = f"flask-push return tickets\0{app}\0{store}"
    return hmac.digest(secret, words.encode(errors="surrogatepass"), "sha256")


def has_other_answers(headers: cabc.Iterable[tuple[str, str]]) -> bool:
    """Whether the response would be another one, as its ``Vary`` says, for requests that a
    ticket can't tell apart."""
    varies = ",".join(value for name, value in headers if name.lower() == "vary")
    return bool({name.strip().lower() for name in varies.split(",")} - _BOUND - {""})


class ReturnTickets:
    """Makes them, and tells those that are good.

    :param keys: The first one signs.
    """

    def __init__(self, keys: cabc.Sequence[bytes]) -> None:
        self._keys = list(keys)

    def make(
        self,
        stream: Stream,
        headers: cabc.Iterable[tuple[str, str]],
        asked: Asked,
        now: float,
        seconds: float,
    ) -> str:
        """A ticket for the stream; empty if it would be too large for a cookie, or the view
        may decide otherwise for requests that look the same here.

        :param headers: Those of the view's response.
        :param seconds: How long it is good, if the stream may last that long.
        """
        headers = list(headers)
        if asked.is_large or has_other_answers(headers):
            return ""
        cookies = [value for name, value in headers if name.lower() == "set-cookie"]
        ends = now + stream.lifetime if stream.lifetime else 0
        says = {
            "channels": stream.channels,
            "user": stream.user,
            "address": stream.address,
            "visible": stream.visible,
            "ends": ends,
            "good": min(now + seconds, ends or float("inf")),
            "mark": asked.mark(cookies),
            "gzip": asked.accept_encoding if stream.gzip else "",
            "head": [(k, v) for k, v in headers if k.lower() not in _UNSAID],
        }
        body = _text(json.dumps(says, separators=(",", ":")).encode())
        ticket = (body + b"." + _sign(self._keys[0], body)).decode()
        return ticket if len(ticket) <= _MOST else ""

    def look(
        self, asked: Asked, call: cabc.Callable[[str], str], now: float, date: str
    ) -> Stream | None:
        """The stream that the request's ticket is good for, if it comes back.

        :param call: What to call a connection that says it is called something.
        :param date: For the stream's head.
        """
        # First what takes no time, for browsers without a ticket come here too.
        if asked.is_large:
            return None
        body, _, signature = asked.ticket.encode("latin-1", "replace").rpartition(b".")
        signed = any(hmac.compare_digest(signature, _sign(key, body)) for key in self._keys)
        if not signed or not asked.position:
            return None
        says: dict[str, t.Any] = json.loads(base64.urlsafe_b64decode(body + b"=="))
        if now >= says["good"] or says["mark"] != asked.mark():
            return None
        # As it is compressed or not, for it says so in the head.
        gzip = says.get("gzip", "")
        if gzip and gzip != asked.accept_encoding:
            return None
        headers = [*wire.HEADERS.items(), *says["head"]]
        return Stream(
            channels=tuple(says["channels"]),
            connection=call(asked.connection),
            head=wire.head("200 OK", headers, date),
            position=asked.position,
            user=says["user"],
            address=says["address"],
            lifetime=says["ends"] and says["ends"] - now,
            visible=says["visible"],
            gzip=bool(gzip),
        )


def _sign(key: bytes, body: bytes) -> bytes:
    return _text(hmac.digest(key, b"flask-push return ticket " + body, "sha256"))


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
