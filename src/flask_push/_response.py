"""The response of a view that answers with a stream."""

from __future__ import annotations

import collections.abc as cabc
import math
import re
import time
import typing as t
from urllib.parse import quote
from urllib.parse import unquote_to_bytes
from urllib.parse import urlsplit

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import dump_cookie
from werkzeug.wsgi import ClosingIterator

from . import _request
from ._delivery import wire
from ._delivery.stream import Stream
from ._delivery.tickets import Asked
from ._delivery.tickets import COOKIE as RETURN_TICKET
from ._handoff.sockets import find_socket
from ._handoff.sockets import NoSocket
from ._handoff.sockets import OneThread
from ._handoff.transplant import HAND_OVER
from ._handoff.transplant import transplant
from ._state import Parts
from ._system.clock import http_date

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


class StreamResponse(Response):
    """Has no body: the hub writes it. So everything that is done to a response (cookies,
    ``after_request``) is done to this one, and nothing waits for its end."""

    automatically_set_content_length = False
    parts: Parts
    stream_: Stream
    may_return: bool

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        if self.status_code != 200:
            return super().__call__(environ, start_response)
        # A view that chooses a coding itself, as "identity", does not get ours.
        chosen = self.headers.get("Content-Encoding", "").strip().lower() == "identity"
        for name in [k for k, _ in self.headers if k.lower() in wire.NOT_OF_A_STREAM]:
            self.headers.remove(name)
        if self.parts.config.gzip and not chosen:
            self._choose_encoding(environ)
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        # Flask's response is final now, and its headers are the stream's.
        headers = self.get_wsgi_headers(environ)
        if self.may_return:
            self._add_ticket(headers, environ)
        body = self._hand_over(headers, environ)
        start_response(self.status, headers.to_wsgi_list())
        return ClosingIterator(body, [self.close, getattr(body, "close", _nothing)])

    def _choose_encoding(self, environ: WSGIEnvironment) -> None:
        """Let what the hub writes be compressed, for who takes it so."""
        if self.stream_.poll:
            return
        self.vary.add("Accept-Encoding")
        if _request.takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            self.headers["Content-Encoding"] = "gzip"
            self.stream_ = self.stream_._replace(gzip=True)

    def _add_ticket(self, headers: Headers, environ: WSGIEnvironment) -> None:
        """Let the browser come back by the hub alone, for a while."""
        parts = self.parts
        if parts.returns is None:
            return
        path = _path(environ)
        where = _path_of_cookie(path, environ)
        if not where:
            return
        seconds = parts.config.return_ticket
        asked = Asked.of(
            path,
            environ.get("QUERY_STRING", ""),
            lambda name: environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""),
        )
        ticket = parts.returns.make(self.stream_, headers, asked, time.time(), seconds)
        if not ticket and not asked.ticket:
            return
        given = parts.ticket_cookie
        cookie = dump_cookie(
            RETURN_TICKET,
            ticket,
            # One that this browser has from before would not be for this stream.
            max_age=math.ceil(seconds) if ticket else 0,
            # It would be quoted once more.
            path=None,
            **{**given, "secure": given["secure"] or environ["wsgi.url_scheme"] == "https"},
        )
        headers.add("Set-Cookie", f"{cookie}; Path={where}")

    def _hand_over(
        self, headers: Headers, environ: WSGIEnvironment
    ) -> cabc.Iterable[bytes]:
        """Bring the request's client to the hub. What the server still has to say."""
        hub = self.parts.hub
        try:
            if HAND_OVER in environ:
                environ[HAND_OVER](self.stream_, hub.adopt)
                return ()
            try:
                fd = find_socket(environ)
            except NoSocket as reason:
                return self._without_socket(headers, reason)
            head = wire.head(self.status, headers, http_date())
            transplant(fd, self.stream_._replace(head=head), hub.adopt)
        except (OSError, RuntimeError) as error:
            self.parts.quiet.error(
                "Could not hand a stream over to the hub; the browser will reconnect: %s",
                error,
            )
            return self.parts.later(self.stream_)
        headers["Content-Length"] = "0"
        return ()

    def _without_socket(self, headers: Headers, why: NoSocket) -> cabc.Iterable[bytes]:
        """Let nginx bring the client, or else relay to it."""
        parts, stream = self.parts, self.stream_
        reason = str(why)
        if parts.testing:
            return self._relay("")
        if parts.config.accel:
            head = accel_head(self.status, headers, http_date())
            try:
                ticket = parts.hub.ticket(stream._replace(head=head))
            except RuntimeError as error:
                reason = str(error)
            else:
                headers["X-Accel-Redirect"] = parts.config.accel + ticket
                # Nginx keeps it to itself. Where there is none, the browser comes back.
                return parts.later(stream)
        headers[wire.RELAY] = str(why)
        if not isinstance(why, OneThread):
            return self._relay(reason)
        if stream.poll:
            # It has its answer at once.
            return self._relay("")
        parts.quiet.error("Refused to relay a stream, because %s.", why)
        return parts.later(stream)

    def _relay(self, reason: str) -> cabc.Iterable[bytes]:
        parts, stream = self.parts, self.stream_
        return parts.relays.open(stream, parts.hub.adopt, reason) or parts.later(stream)


def response_class(base: type[Response]) -> type[StreamResponse]:
    """The class of streams, for an app whose other responses are of the class `base`."""
    # Flask turns a response of any other class into one of the app's.
    if base not in _response_classes:
        if len(_response_classes) >= _MOST_CLASSES:
            _response_classes.clear()
        _response_classes[base] = type("StreamResponse", (StreamResponse, base), {})
    return _response_classes[base]


_response_classes: dict[type[Response], type[StreamResponse]] = {}
# Tests may make a class for each of their apps.
_MOST_CLASSES = 32


def _path(environ: WSGIEnvironment) -> bytes:
    """The path that the request asks for, without what it was quoted with."""
    path: str = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
    return path.encode("latin-1")


def _path_of_cookie(path: bytes, environ: WSGIEnvironment) -> str:
    """The path as the browser has sent it: it sends a cookie back if they are the same,
    letter for letter. Empty if no cookie can have it."""
    uri = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    sent: str = urlsplit(uri).path if "://" in uri else uri.partition("?")[0]
    if unquote_to_bytes(sent) != path:
        # The server doesn't tell, or something before it has changed the path.
        sent = quote(path, safe=_AS_THEY_ARE)
    return sent if _IN_A_COOKIE.fullmatch(sent) else ""


def _nothing() -> None: ...


# What browsers leave as it is in the path of an address, beside letters and digits.
_AS_THEY_ARE = "!$&'()*+,/:;=@[]|"
# A semicolon would end the path.
_IN_A_COOKIE = re.compile(r"/[!-:<-~]*")


# What nginx keeps of the view's response. From ours it would come a second time.
_KEPT = frozenset(
    {"accept-ranges", "cache-control", "content-disposition", "expires", "set-cookie"}
)


def accel_head(status: str, headers: cabc.Iterable[tuple[str, str]], date: str) -> bytes:
    """The head of the hub's answer to nginx: what nginx wouldn't keep of the view's."""
    return wire.head(status, [(k, v) for k, v in headers if k.lower() not in _KEPT], date)
