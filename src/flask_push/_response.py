"""The response of a view that answers with a stream, and how its client gets to the hub."""

from __future__ import annotations

import collections.abc as cabc
import socket
import typing as t

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.wsgi import ClosingIterator

from . import _compression
from ._delivery import wire
from ._delivery.follow import NOT_FOLLOWING
from ._delivery.stream import Stream
from ._handoff.sockets import closes_after_head
from ._handoff.sockets import find_socket
from ._handoff.sockets import NoSocket
from ._handoff.sockets import OneThread
from ._handoff.transplant import HAND_OVER
from ._handoff.transplant import transplant
from ._state import Services
from ._system.clock import http_date

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


class StreamResponse(Response):
    """A response without a body: the hub writes the body to the client. Flask treats it as
    any other response (cookies, ``after_request``), and nothing waits for the stream's
    end."""

    automatically_set_content_length = False
    services: Services
    stream_: Stream
    may_return: bool

    @property
    def connection(self) -> str:
        """The id of the stream's connection, as its page gets it with ``push:open``."""
        return self.stream_.connection

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        if self.status_code != 200:
            return super().__call__(environ, start_response)
        compresses = self.services.config.gzip and _compression.view_allows(self.headers)
        for name in [k for k, _ in self.headers if k.lower() in wire.NOT_OF_A_STREAM]:
            self.headers.remove(name)
        if compresses and self.stream_.follow is NOT_FOLLOWING:
            accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
            self.stream_ = _compression.choose(self, self.stream_, accepted)
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        # Flask's response is final now, and the stream gets its headers.
        headers = self.get_wsgi_headers(environ)
        if self.may_return and self.services.ticket_cookie is not None:
            self.services.ticket_cookie.add(self.stream_, headers, environ)
        body = self._hand_over(headers, environ)
        start_response(self.status, headers.to_wsgi_list())
        # It also closes the body.
        return ClosingIterator(body, self.close)

    def _hand_over(
        self, headers: Headers, environ: WSGIEnvironment
    ) -> cabc.Iterable[bytes]:
        """Hand the client of the request over to the hub.

        :return: The body that the server still has to send.
        """
        hub = self.services.hub
        try:
            if HAND_OVER in environ:
                environ[HAND_OVER](self.stream_, hub.adopt)
                return ()
            try:
                found = find_socket(environ)
            except NoSocket as reason:
                return self._without_socket(headers, reason)
            later = self.call_on_close if closes_after_head(environ) else None
            transplant(found, self._with_head(headers, environ, found), hub.adopt, later)
        except (OSError, RuntimeError) as error:
            # The exception refers to the request, and some logs keep what they get.
            self._log_failure(str(error))
            return self._refuse(headers)
        headers["Content-Length"] = "0"
        return ()

    def _with_head(
        self, headers: Headers, environ: WSGIEnvironment, found: int | socket.socket
    ) -> Stream:
        """The stream, with the head that the hub sends first.

        :param found: The client's socket.
        """
        return self.stream_._replace(head=wire.head(self.status, headers, http_date()))

    def _with_head_for_nginx(self, headers: Headers) -> Stream:
        head = accel_head(self.status, headers, http_date())
        return self.stream_._replace(head=head)

    def _instead_of_nginx(self) -> cabc.Iterable[bytes]:
        """The body of a response that tells nginx where to connect. Nginx does not pass it
        on. Without nginx, the browser gets it, and reconnects."""
        return self.services.retry_later(self.stream_)

    def _log_failure(self, reason: str) -> None:
        self.services.quiet.error(
            "Could not hand a stream over to the hub; the browser will reconnect: %s",
            reason,
        )

    def _refuse(self, headers: Headers) -> cabc.Iterable[bytes]:
        """Answer with no stream, so that the client sends another request later.

        :return: The body.
        """
        return self.services.retry_later(self.stream_)

    def _without_socket(self, headers: Headers, why: NoSocket) -> cabc.Iterable[bytes]:
        """Have nginx connect the client to the hub, or else relay the stream."""
        services, stream = self.services, self.stream_
        reason = str(why)
        if services.testing:
            return self._relay(headers, "")
        if services.config.accel:
            try:
                token = services.hub.token(self._with_head_for_nginx(headers))
            except RuntimeError as error:
                reason = str(error)
            else:
                headers["X-Accel-Redirect"] = services.config.accel + token
                return self._instead_of_nginx()
        headers[wire.RELAY] = str(why)
        if not isinstance(why, OneThread):
            return self._relay(headers, reason)
        if stream.poll:
            # A poll ends at once, so it does not occupy the only thread.
            return self._relay(headers, "")
        services.quiet.error("Refused to relay a stream, because %s.", why)
        return self._refuse(headers)

    def _relay(self, headers: Headers, reason: str) -> cabc.Iterable[bytes]:
        services = self.services
        relay = services.relays.open(self.stream_, services.hub.adopt, reason)
        return relay or self._refuse(headers)


def respond(
    base: type[Response],
    services: Services,
    stream: Stream,
    may_return: bool,
    kind: type[StreamResponse] = StreamResponse,
) -> StreamResponse:
    """
    :param base: The response class of the app.
    :param may_return: Whether the browser may get a return ticket.
    :param kind: What the response is besides.
    """
    response = response_class(base, kind)(headers=_HEADERS)
    response.services = services
    response.stream_ = stream
    response.may_return = may_return
    return response


def response_class(
    base: type[Response], kind: type[StreamResponse] = StreamResponse
) -> type[StreamResponse]:
    """The class of streams for an app whose response class is `base`."""
    # Flask converts a response of any other class into the app's class.
    if (base, kind) not in _response_classes:
        if len(_response_classes) >= _MOST_CLASSES:
            _response_classes.clear()
        _response_classes[base, kind] = type(kind.__name__, (kind, base), {})
    return _response_classes[base, kind]


# Werkzeug reads a list with fewer steps than a dict.
_HEADERS = list(wire.HEADERS.items())

_response_classes: dict[
    tuple[type[Response], type[StreamResponse]], type[StreamResponse]
] = {}
# A test suite may make a response class for each of its apps.
_MOST_CLASSES = 32


# Headers that nginx takes from the view's response. If the hub sent them too, the browser
# would get them twice.
_KEPT_BY_NGINX = frozenset(
    {"accept-ranges", "cache-control", "content-disposition", "expires", "set-cookie"}
)


def accel_head(
    status: str,
    headers: cabc.Iterable[tuple[str, str]],
    date: str,
    chunked: bool = False,
) -> bytes:
    """The head of the hub's response to nginx, without the headers that nginx takes from
    the view's response."""
    kept = [(k, v) for k, v in headers if k.lower() not in _KEPT_BY_NGINX]
    return wire.head(status, kept, date, chunked)
