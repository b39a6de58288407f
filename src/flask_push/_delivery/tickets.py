"""Return tickets: with one, a browser reconnects to the hub without asking the view.

A view takes twenty times as long as the hub takes for a stream, so when thousands reconnect
at once, they would wait for views. A ticket is the signed decision of a view: the channels,
the user, and when the stream ends. It is valid for a limited time. It is a cookie, so that
the browser's own ``EventSource`` sends it too.

It is valid only for the same address of the same app, requested with the same credentials
from a page of the same origin. If a user has logged in or out, the cookies are different,
and the view decides again. The view also decides if anything else is wrong with a ticket; a
ticket never causes a refusal.
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
from .last_event_id import holds_of
from .last_event_id import position_of
from .last_event_id import POSITIONS
from .stream import Stream
from .stream_presence import StreamPresence

COOKIE = "push_ticket"
# Parameters that are different for each connection.
_OWN = frozenset({*POSITIONS, "connection", "items", "holds"})
# Browsers keep cookies of 4096 bytes, and nginx takes 8192 of all that are sent at once.
_MOST = 2048
# With more bytes of query or cookies, the view decides. The hub can do nothing else while
# it compares them.
_MOST_QUERY, _MOST_COOKIES = 4096, 16 * 1024
# The headers that a ticket depends on, in the order of the fields of TicketRequest.
_SENT = ("cookie", "authorization", "last-event-id", "accept-encoding", "origin", "host")
# The headers that a Vary of the view's response may name: a ticket is compared with them.
_BOUND = frozenset({"accept-encoding", "authorization", "cookie", "host", "origin"})
# Headers that a ticket need not carry: those of every stream, and those that are sent only
# once.
_NOT_CARRIED = frozenset({*(key.lower() for key in wire.HEADERS), "date", "set-cookie"})


@dataclass(frozen=True)
class TicketRequest:
    """The parts of a request that a ticket depends on.

    :param path: Unquoted.
    """

    path: bytes
    query: str
    # The headers; empty if the request does not have them.
    cookie: str = ""
    authorization: str = ""
    last_event_id: str = ""
    accept_encoding: str = ""
    origin: str = ""
    host: str = ""

    @classmethod
    def of(
        cls, path: bytes, query: str, header: cabc.Callable[[str], str]
    ) -> TicketRequest:
        """
        :param header: Returns the header of a name in lower case.
        """
        return cls(path, query, *map(header, _SENT))

    @property
    def position(self) -> str:
        return position_of(self.last_event_id, self._first().get)

    @property
    def connection(self) -> str:
        """The id that the connection already has."""
        return self._first().get("connection", "")

    @property
    def items(self) -> bool:
        return self._first().get("items") == "1"

    @property
    def holds(self) -> str:
        return holds_of(self._first().get)

    @property
    def is_large(self) -> bool:
        return len(self.query) > _MOST_QUERY or len(self.cookie) > _MOST_COOKIES

    @property
    def ticket(self) -> str:
        """The first ticket: a browser sends the cookie with the longest path first."""
        return next((value for name, value in self._cookies() if name == COOKIE), "")

    def mark(self, answered: cabc.Iterable[str] = ()) -> str:
        """A digest that is the same for two requests only if they ask for the same with
        the same credentials.

        :param answered: The ``Set-Cookie`` headers of the response, which change the
            cookies of the next request.
        """
        cookies = self._cookies()
        for header in answered:
            name, _, value = header.partition(";")[0].strip().partition("=")
            # The next request has no cookie that the response deletes.
            cookies = [(n, v) for n, v in cookies if n != name] + [(name, value)]
        kept = [(n, v) for n, v in cookies if v and n != COOKIE]
        # The order of two cookies with one name may decide who the user is.
        kept.sort(key=lambda pair: pair[0])
        query = [pair for pair in self._query() if pair[0] not in _OWN]
        parts = json.dumps(
            [self.path.hex(), query, kept, self.authorization]
            + [self.origin, self.host.lower()]
        )
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    def _first(self) -> dict[str, str]:
        """The first value of each parameter."""
        return dict(reversed(self._query()))

    def _cookies(self) -> list[tuple[str, str]]:
        pairs = (pair.strip().partition("=") for pair in self.cookie.split(";"))
        return [(name, value) for name, _, value in pairs if name]


def derive_key(secret: bytes, app: str, store: str) -> bytes:
    """The key for the tickets of one app. It is of no use for other apps with the same
    secret, or for anything else that the secret signs.

    :param app: Its name.
    :param store: The URL of its store.
    """
    words = f"flask-push return tickets\0{app}\0{store}"
    return hmac.digest(secret, words.encode(errors="surrogatepass"), "sha256")


def has_other_answers(headers: cabc.Iterable[tuple[str, str]]) -> bool:
    """Whether, as its ``Vary`` says, the response depends on headers that a ticket does not
    depend on."""
    varies = ",".join(value for name, value in headers if name.lower() == "vary")
    return bool({name.strip().lower() for name in varies.split(",")} - _BOUND - {""})


class ReturnTickets:
    """Makes tickets and checks them.

    :param keys: The first key signs. All of them are accepted.
    """

    def __init__(self, keys: cabc.Sequence[bytes]) -> None:
        self._keys = list(keys)

    def make(
        self,
        stream: Stream,
        headers: cabc.Iterable[tuple[str, str]],
        asked: TicketRequest,
        now: float,
        seconds: float,
    ) -> str:
        """A ticket for the stream. Empty if it would be too large for a cookie, or if the
        view may decide differently for requests that are the same for a ticket.

        :param headers: The headers of the view's response.
        :param seconds: How long the ticket is valid, unless the stream ends before.
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
            "session": stream.session,
            "seen": stream.seen,
            **({"every": stream.every} if stream.every else {}),
            **({"presence": stream.presence.to_json()} if any(stream.presence) else {}),
            "ends": ends,
            "good": min(now + seconds, ends or float("inf")),
            "mark": asked.mark(cookies),
            "gzip": asked.accept_encoding if stream.gzip else "",
            "head": [(k, v) for k, v in headers if k.lower() not in _NOT_CARRIED],
        }
        body = _text(json.dumps(says, separators=(",", ":")).encode())
        ticket = (body + b"." + _sign(self._keys[0], body)).decode()
        return ticket if len(ticket) <= _MOST else ""

    def look(
        self, asked: TicketRequest, call: cabc.Callable[[str], str], now: float, date: str
    ) -> Stream | None:
        """The stream that the request's ticket allows; ``None`` if the view has to decide.

        :param call: Returns the id for a connection that says it already has one.
        :param date: For the head of the stream.
        """
        # The fast checks come first, because requests without a ticket are checked too.
        if asked.is_large:
            return None
        body, _, signature = asked.ticket.encode("latin-1", "replace").rpartition(b".")
        signed = any(hmac.compare_digest(signature, _sign(key, body)) for key in self._keys)
        if not signed or not asked.position:
            return None
        says: dict[str, t.Any] = json.loads(base64.urlsafe_b64decode(body + b"=="))
        if now >= says["good"] or says["mark"] != asked.mark():
            return None
        # Without it, the ticket is an older version's, and may be of a disconnected user.
        if "seen" not in says:
            return None
        # The head says whether the stream is compressed.
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
            session=says["session"],
            seen=says["seen"],
            items=asked.items,
            holds=asked.holds,
            every=says.get("every", 0),
            presence=StreamPresence.from_json(says.get("presence", {})),
        )


def _sign(key: bytes, body: bytes) -> bytes:
    return _text(hmac.digest(key, b"flask-push return ticket " + body, "sha256"))


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
