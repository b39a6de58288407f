"""The extension: what a Flask app sees."""

from __future__ import annotations

import collections.abc as cabc
import math
import time
import typing as t
import weakref

from flask import current_app
from flask import Flask
from flask import has_app_context
from flask import render_template
from flask import request
from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import dump_cookie
from werkzeug.wsgi import ClosingIterator

from . import _accel
from . import _asked
from . import _wire
from ._bridges import make_bridge
from ._event import Event
from ._parts import Parts
from ._parts import State
from ._publisher import check_count
from ._publisher import History
from ._return import Asked
from ._return import COOKIE as RETURN_TICKET
from ._scripts import serve_scripts
from ._sockets import find_socket
from ._sockets import NoSocket
from ._stream import Stream
from ._wsgi import HAND_OVER
from ._wsgi import http_date
from ._wsgi import transplant
from .brokers import Bridge

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


class Push:
    """Server push for one app or several.

    :param app: Calls :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._states: weakref.WeakKeyDictionary[Flask, State] = weakref.WeakKeyDictionary()
        self._bridges: list[Bridge] = []
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Push {[app.name for app in self._states]}>"

    def init_app(self, app: Flask) -> None:
        """Check the app's configuration. Nothing is opened or started before it is
        needed, and in each process anew.

        :raises ValueError: If the configuration can't be right.
        """
        state = State(app, self._bridges)
        if state.url_prefix:
            serve_scripts(app, state.url_prefix)
        app.extensions["push"] = self
        self._states[app] = state

    def bridge(
        self,
        source: str,
        *,
        channel: str,
        type: str = "message",
        app: Flask | None = None,
    ) -> None:
        """Publish what other programs say in the Redis of ``PUSH_BROKER_URL`` with a bare
        ``PUBLISH``.

        One hub of all does it, while there is a hub. What can't have been heard is told
        as a gap. Called where the app is made, before or after :meth:`init_app`.

        :param source: ``redis:`` and the name of a channel of Redis's.
        :param channel: Where it is published.
        :param type: The events' type.
        :param app: For this app; otherwise for all of this Push.
        :raises ValueError: If nothing can be brought from there to there.
        :raises RuntimeError: If the app is in use already. With another broker than a
            Redis, whatever the app does first raises it.
        """
        bridge = make_bridge(source, channel, type)
        if app is None:
            for state in self._states.values():
                state.bridge(bridge)
            self._bridges.append(bridge)
        elif app in self._states:
            self._states[app].bridge(bridge)
        else:
            raise RuntimeError(_unknown(app))

    def publish(
        self,
        channel: str,
        data: t.Any,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        exclude: str | None = None,
    ) -> str:
        """Store an event, and send it to everybody who listens to its channel.

        From a view, a thread, an ``atexit`` hook; outside of an app context too, if
        there is one app. As :meth:`Publisher.publish`; JSON is made by ``app.json``.
        """
        publisher = self._parts().publisher
        return publisher.publish(
            channel, data, type=type, key=key, store=store, exclude=exclude
        )

    def publish_template(
        self,
        channel: str,
        template: str,
        /,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        exclude: str | None = None,
        **context: t.Any,
    ) -> str:
        """Render a template, and publish what it comes to.

        As :meth:`publish` and ``flask.render_template``, in an app context. It is
        rendered once, by whoever publishes, and everybody gets the same.
        """
        data = render_template(template, **context)
        return self.publish(channel, data, type=type, key=key, store=store, exclude=exclude)

    def publish_many(self, events: cabc.Iterable[Event]) -> str:
        """Store events in this order, all or none. As :meth:`Publisher.publish_many`."""
        return self._parts().publisher.publish_many(events)

    def history(self, channel: str, last: int) -> History:
        """The newest events of a channel. As :meth:`Publisher.history`."""
        return self._parts().publisher.history(channel, last)

    def position(self) -> str:
        """Where the store is now. As :meth:`Publisher.position`."""
        return self._parts().publisher.position()

    @property
    def broker_url(self) -> str:
        """The store's URL, for a :class:`Publisher` in a process without the app."""
        return self._parts().broker.url

    def requested(self) -> tuple[str, ...]:
        """The channels that the request asks for: ``channel=`` in its address, once for
        each.

        Anybody can ask for any: your view decides which of them it grants. If one is no
        name of a channel, or there are more than a stream may have, the answer is 400.
        """
        return _asked.channels(request, self._parts().config.max_channels)

    def stream(
        self,
        *channels: str,
        last: int = 0,
        user: str | None = None,
        lifetime: float | None = None,
        replay: bool = True,
    ) -> Response:
        """Answer a request with a stream of these channels' events.

        Return it from a view, which has decided that whoever asks may listen, and so may
        read what the channels keep. The view ends there: its session is saved, its
        connections are returned, its worker is free. Without any channel the answer is
        403 if the request asks for some, else 400.

        :param last: Begin so many events back, for a browser that brings no position.
        :param user: Whose stream it is.
        :param lifetime: Seconds after which the stream ends and the browser asks again,
            about, so that the view decides anew; ``0`` for never. The default is
            ``PUSH_LIFETIME``. Nothing is lost between.
        :param replay: ``False`` ignores the position that the browser brings, where what
            was said before it joined must not be read.
        :raises ValueError: If a channel has no name, or there are too many of them.
        """
        parts = self._parts()
        if lifetime is None:
            lifetime = parts.config.lifetime
        last = check_count("last", last)
        _asked.check(request, channels, parts.config.max_channels, lifetime)
        asked = _asked.stream(request)
        position = asked.position if replay else ""
        if parts.testing and not position and not last:
            # So that a test may publish as soon as it has the response.
            position = parts.publisher.position()
        response = _response_class(current_app.response_class)(headers=_wire.HEADERS)
        response.parts = parts
        response.stream_ = asked._replace(
            channels=tuple(dict.fromkeys(channels)),
            position=position,
            last=last if replay else 0,
            user=None if user is None else str(user),
            address=request.remote_addr if parts.config.max_streams_per_address else None,
            lifetime=lifetime,
        )
        response.may_return = replay and not asked.poll
        return response

    def _parts(self) -> Parts:
        if has_app_context():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            if app not in self._states:
                raise RuntimeError(_unknown(app))
            return self._states[app].parts()
        states = list(self._states.values())
        if not states:
            raise RuntimeError("This Push has no app. Call 'push.init_app(app)' first.")
        if len(states) > 1:
            raise RuntimeError(
                f"This Push has {len(states)} apps, and no app context says which is"
                " meant. Use 'with app.app_context():', or a Publisher."
            )
        return states[0].parts()


class _StreamResponse(Response):
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


def _response_class(base: type[Response]) -> type[_StreamResponse]:
    # Flask turns a response of any other class into one of the app's.
    if base not in _response_classes:
        _response_classes[base] = type("StreamResponse", (_StreamResponse, base), {})
    return _response_classes[base]


_response_classes: dict[type[Response], type[_StreamResponse]] = {}


def _unknown(app: Flask) -> str:
    return (
        f"The app {app.name!r} is not registered with this Push. Call"
        " 'push.init_app(app)' when it is made."
    )


def _nothing() -> None: ...
