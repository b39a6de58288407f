"""Notes what a process knows when a request arrives at ``app.wsgi_app``.

Sessions, hooks and views decide who the user is later. What is decided earlier, by WSGI
middleware around ``app.wsgi_app`` or by a cache, is not covered.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import Request

from ._delivery.stream import Stream
from ._known_positions import Known
from ._state import AppState
from ._state import Services

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class Arrival:
    """The arrival of requests at one app, for one Push. It does not keep the app alive.

    :param state: That of the last call of ``init_app``.
    """

    def __init__(self, state: AppState) -> None:
        self.state = state
        self._key = f"flask_push.known.{id(self):x}"

    def around(self, wsgi: WSGIApplication) -> WSGIApplication:
        """What ``app.wsgi_app`` has to be."""

        def arrive(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> cabc.Iterable[bytes]:
            environ[self._key] = self.state.known_now()
            return wsgi(environ, start_response)

        return arrive

    def known_at(self, request: Request | None) -> Known | None:
        """What was known when the request arrived; ``None`` if it did not arrive here."""
        return None if request is None else request.environ.get(self._key)

    def add_seen(self, stream: Stream, request: Request, services: Services) -> Stream:
        """The stream, with the position that the process knew when the request arrived.

        :raises RuntimeError: If the request did not arrive here.
        """
        if services.known is None:
            return stream
        known = self.known_at(request)
        if known is None:
            if not services.testing:
                raise RuntimeError(
                    "The request did not pass through this Push, and so 'disconnect' could"
                    " not end its stream. Something has replaced app.wsgi_app by what it"
                    " was before 'push.init_app(app)'. Wrap what it is now: app.wsgi_app ="
                    " Middleware(app.wsgi_app)."
                )
            known = services.known.now()
        return stream._replace(seen=services.known.seen(known, stream))
