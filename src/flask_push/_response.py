"""The response of a view that answers with a stream."""

from __future__ import annotations

import collections.abc as cabc
import math
import time
import typing as t

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import dump_cookie
from werkzeug.wsgi import ClosingIterator

from . import _accel
from . import _asked
from . import _wire
from ._parts import Parts
from ._return import Asked
from ._return import COOKIE as RETURN_TICKET
from ._sockets import find_socket
from ._sockets import NoSocket
from ._stream import Stream
from ._wsgi import HAND_OVER
from ._wsgi import http_date
from ._wsgi import transplant

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
        for name in [k for k, _ in self.headers if k.lower() in _wire.NOT_OF_A_STREAM]:
            self.headers.remove(name)
        if self.parts.config.gzip:
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
        if _asked.takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            self.headers["Content-Encoding"] = "gzip"
            self.stream_ = self.stream_._replace(gzip=True)

    def _add_ticket(self, headers: Headers, environ: WSGIEnvironment) -> None:
        """Let the browser come back by the hub alone, for a while."""
        parts = self.parts
        if parts.returns is None:
            return
        seconds = parts.config.return_ticket
        path = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
        asked = Asked(
            path.encode("latin-1"),
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_COOKIE", ""),
            environ.get("HTTP_AUTHORIZATION", ""),
            accept_encoding=environ.get("HTTP_ACCEPT_ENCODING", ""),
        )
        ticket = parts.returns.make(self.stream_, headers, asked, time.time(), seconds)
        cookie = dump_cookie(
            RETURN_TICKET,
            ticket,
            # One that this browser has from before would not be for this stream.
            max_age=math.ceil(seconds) if ticket else 0,
            path=path,
            secure=environ["wsgi.url_scheme"] == "https",
            httponly=True,
            samesite=parts.same_site,
        )
        headers.add("Set-Cookie", cookie)

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
                return self._without_socket(headers, str(reason))
            head = _wire.head(self.status, headers, http_date())
            transplant(fd, self.stream_._replace(head=head), hub.adopt)
        except (OSError, RuntimeError) as error:
            self.parts.quiet.error(
                "Could not hand a stream over to the hub; the browser will reconnect: %s",
                error,
            )
            return self.parts.later(self.stream_)
        headers["Content-Length"] = "0"
        return ()

    def _without_socket(self, headers: Headers, reason: str) -> cabc.Iterable[bytes]:
        """Let nginx bring the client, or else relay to it."""
        parts, stream = self.parts, self.stream_
        why = reason
        if parts.config.accel and not parts.testing:
            head = _accel.head(self.status, headers, http_date())
            try:
                ticket = parts.hub.ticket(stream._replace(head=head))
            except RuntimeError as error:
                reason = str(error)
            else:
                headers["X-Accel-Redirect"] = parts.config.accel + ticket
                # Nginx keeps it to itself. Where there is none, the browser comes back.
                return parts.later(stream)
        said = "" if parts.testing else reason
        if not parts.testing:
            headers[_wire.RELAY] = why
        return parts.relays.open(stream, parts.hub.adopt, said) or parts.later(stream)


def response_class(base: type[Response]) -> type[StreamResponse]:
    """The class of an app whose other responses are of the class `base`."""
    # Flask turns a response of any other class into one of the app's.
    if base not in _response_classes:
        _response_classes[base] = type("StreamResponse", (StreamResponse, base), {})
    return _response_classes[base]


_response_classes: dict[type[Response], type[StreamResponse]] = {}


def _nothing() -> None: ...
