"""The cookie with a return ticket that a view's response gives to a browser.

:mod:`._delivery.tickets` makes the tickets, and the hub accepts them.
"""

from __future__ import annotations

import math
import re
import time
import typing as t
from urllib.parse import quote
from urllib.parse import unquote_to_bytes
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.http import dump_cookie

from ._delivery.stream import Stream
from ._delivery.tickets import COOKIE
from ._delivery.tickets import derive_key
from ._delivery.tickets import ReturnTickets
from ._delivery.tickets import TicketRequest
from ._secret_keys import secret_keys

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Browsers don't quote these in the path of an address, nor letters and digits.
_UNQUOTED = "!$&'()*+,/:;=@[]|"
# A semicolon would end the path.
_COOKIE_PATH = re.compile(r"/[!-:<-~]*")


class TicketCookie:
    """
    :param store: The URL of the store.
    :param seconds: How long a ticket is valid.
    """

    def __init__(self, app: Flask, store: str, seconds: float) -> None:
        self.keys = _keys(app, store)
        self._tickets = ReturnTickets(self.keys)
        self._seconds = seconds
        self._attributes = _attributes(app)

    def add(self, stream: Stream, headers: Headers, environ: WSGIEnvironment) -> None:
        """Add the cookie to the headers of the stream's response."""
        path = _path(environ)
        cookie_path = _cookie_path(path, environ)
        if not cookie_path:
            return
        request = TicketRequest.of(
            path,
            environ.get("QUERY_STRING", ""),
            lambda name: environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""),
        )
        ticket = self._tickets.make(stream, headers, request, time.time(), self._seconds)
        if not ticket and not request.ticket:
            return
        is_tls = environ["wsgi.url_scheme"] == "https"
        secure = self._attributes["secure"] or is_tls
        cookie = dump_cookie(
            COOKIE,
            ticket,
            # A ticket that the browser already has is not for this stream: delete it.
            max_age=math.ceil(self._seconds) if ticket else 0,
            # Werkzeug would quote the path a second time.
            path=None,
            **{**self._attributes, "secure": secure},
        )
        headers.add("Set-Cookie", f"{cookie}; Path={cookie_path}")


def _keys(app: Flask, store: str) -> list[bytes]:
    """The keys that sign return tickets, and nothing else."""
    keys = secret_keys(app)
    if not keys:
        raise RuntimeError(
            "PUSH_RETURN_TICKET needs a SECRET_KEY, to sign tickets with. Set it to a long"
            " random text, the same in every process."
        )
    given = [key.encode() if isinstance(key, str) else key for key in keys]
    return [derive_key(key, app.name, store) for key in given]


def _attributes(app: Flask) -> dict[str, t.Any]:
    """The attributes of the cookie: it is protected at least as the session's cookie."""
    session = app.session_interface
    found: dict[str, t.Any] = {
        "secure": session.get_cookie_secure(app),
        "httponly": True,
        "samesite": session.get_cookie_samesite(app) or "Lax",
    }
    # New in Flask 3.1.
    partitioned = getattr(session, "get_cookie_partitioned", None)
    if partitioned is not None and partitioned(app):
        found["partitioned"] = True
    return found


def _path(environ: WSGIEnvironment) -> bytes:
    """The path of the request, unquoted."""
    path: str = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
    return path.encode("latin-1")


def _cookie_path(path: bytes, environ: WSGIEnvironment) -> str:
    """The path exactly as the browser sent it, because the browser compares it with the
    cookie's letter for letter. Empty if a cookie can't have this path."""
    uri = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    sent: str = urlsplit(uri).path if "://" in uri else uri.partition("?")[0]
    if unquote_to_bytes(sent) != path:
        # The server does not pass it on, or a middleware changed the path.
        sent = quote(path, safe=_UNQUOTED)
    return sent if _COOKIE_PATH.fullmatch(sent) else ""
