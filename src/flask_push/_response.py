"""The response of a view that answers with a stream, and how its client gets to the hub."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.wsgi import ClosingIterator

from . import _compression
from ._delivery import wire
from ._delivery.stream import Stream
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
        if compresses:
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
            head = wire.head(self.status, headers, http_date())
            transplant(found, self.stream_._replace(head=head), hub.adopt)
        except (OSError, RuntimeError) as error:
            self.services.quiet.error(
                "Could not hand a stream over to the hub; the browser will reconnect: %s",
                error,
            )
            return self.services.retry_later(self.stream_)
        headers["Content-Length"] = "0"
        return ()

    def _without_socket(self, headers: Headers, why: NoSocket) -> cabc.Iterable[bytes]:
        """Have nginx connect the client to the hub, or else relay the stream."""
        services, stream = self.services, self.stream_
        reason = str(why)
        if services.testing:
            return self._relay("")
        if services.config.accel:
            head = accel_head(self.status, headers, http_date())
            try:
                token = services.hub.token(stream._replace(head=head))
            except RuntimeError as error:
                reason = str(error)
            else:
                headers["X-Accel-Redirect"] = services.config.accel + token
                # Nginx does not pass this body on. Without nginx, the browser gets it, and
                # reconnects.
                return services.retry_later(stream)
        headers[wire.RELAY] = str(why)
        if not isinstance(why, OneThread):
            return self._relay(reason)
        if stream.poll:
            # A poll ends at once, so it does not occupy the only thread.
            return self._relay("")
        services.quiet.error("Refused to relay a stream, because %s.", why)
        return services.retry_later(stream)

    def _relay(self, reason: str) -> cabc.Iterable[bytes]:
        services, stream = self.services, self.stream_
        return services.relays.open(
            stream, services.hub.adopt, reason
        ) or services.retry_later(stream)


def respond(
    base: type[Response], services: Services, stream: Stream, may_return: bool
) -> StreamResponse:
    """
    :param base: The response class of the app.
    :param may_return: Whether the browser may get a return ticket.
    """
    response = response_class(base)(headers=_HEADERS)
    response.services = services
    response.stream_ = stream
    response.may_return = may_return
    return response


def response_class(base: type[Response]) -> type[StreamResponse]:
    """The class of streams for an app whose response class is `base`."""
    # Flask converts a response of any other class into the app's class.
    if base not in _response_classes:
        if len(_response_classes) >= _MOST_CLASSES:
            _response_classes.clear()
        _response_classes[base] = type("StreamResponse", (StreamResponse, base), {})
    return _response_classes[base]


# Werkzeug reads a list with fewer steps than a dict.
_HEADERS = list(wire.HEADERS.items())

_response_classes: dict[type[Response], type[StreamResponse]] = {}
# A test suite may make a response class for each of its apps.
_MOST_CLASSES = 32


# Headers that nginx takes from the view's response. If the hub sent them too, the browser
# would get them twice.
_KEPT_BY_NGINX = frozenset(
    {"accept-ranges", "cache-control", "content-disposition", "expires", "set-cookie"}
)


def accel_head(status: str, headers: cabc.Iterable[tuple[str, str]], date: str) -> bytes:
    """The head of the hub's response to nginx, without the headers that nginx takes from
    the view's response."""
    return wire.head(
        status, [(k, v) for k, v in headers if k.lower() not in _KEPT_BY_NGINX], date
    )
