"""The response that is a run on a plain wire, for a client of an AI protocol.

Such a client takes whatever ends in order for a whole answer. So the body shows whether it
is whole: by chunks, of which the last one is missing if it was cut off. HTTP/1.0 has none.
There the hub resets the connection instead. And where the client can't have the run now,
the status says so (laws R64 and R65).
"""

from __future__ import annotations

import collections.abc as cabc
import random
import socket
import typing as t

from flask import Response
from werkzeug.datastructures import Headers

from ._delivery import wire
from ._delivery.follow import Framing
from ._delivery.run_wires import WIRES
from ._delivery.stream import Stream
from ._response import accel_head
from ._response import StreamResponse
from ._system.clock import http_date
from ._system.sockets import is_unix_socket

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class PlainResponse(StreamResponse):
    """As each :class:`.StreamResponse`, it has no body."""

    def _with_head(
        self, headers: Headers, environ: WSGIEnvironment, found: int | socket.socket
    ) -> Stream:
        chunked = environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        if not chunked and isinstance(found, int) and is_unix_socket(found):
            self.services.quiet.warning(
                "An answer on the wire %r that is cut off looks whole to its client,"
                " because the proxy sends requests of HTTP/1.0 over a Unix socket. Set"
                " 'proxy_http_version 1.1' in nginx.",
                self.stream_.follow.wire,
            )
        head = wire.head(self.status, headers, http_date(), chunked)
        return self._framed(head, "chunked" if chunked else "close")

    def _with_head_for_nginx(self, headers: Headers) -> Stream:
        # Nginx understands chunks, also where it asks for HTTP/1.0.
        head = accel_head(self.status, headers, http_date(), chunked=True)
        return self._framed(head, "chunked")

    def _framed(self, head: bytes, framing: Framing) -> Stream:
        follow = self.stream_.follow._replace(framing=framing)
        return self.stream_._replace(head=head, follow=follow)

    def _instead_of_nginx(self) -> cabc.Iterable[bytes]:
        return [WIRES[self.stream_.follow.wire].broken("disconnected")]

    def _log_failure(self, reason: str) -> None:
        self.services.quiet.error(
            "Could not hand a stream over to the hub; its client got 503: %s", reason
        )

    def _refuse(self, headers: Headers) -> cabc.Iterable[bytes]:
        self.status_code = 503
        kept = wire.of_no_stream(headers)
        headers.clear()
        headers.extend([*kept, *_unavailable_headers()])
        return [wire.NOT_NOW]


def unavailable(base: type[Response]) -> Response:
    """The response instead of a plain wire that can't be had now.

    :param base: The response class of the app.
    """
    return base(wire.NOT_NOW, 503, headers=_unavailable_headers())


def _unavailable_headers() -> list[tuple[str, str]]:
    return wire.unavailable_headers(random.randint(1, 5))
