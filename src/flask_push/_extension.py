"""The extension: what a Flask app sees."""

from __future__ import annotations

import collections.abc as cabc
import logging
import secrets
import threading
import typing as t
import weakref
from dataclasses import replace
from email.utils import formatdate

from flask import current_app
from flask import Flask
from flask import has_app_context
from flask import json
from flask import Request
from flask import request
from flask import Response
from werkzeug.wsgi import ClosingIterator

from . import _wire
from ._config import Config
from ._event import escape
from ._event import Event
from ._loop import HubThread
from ._publisher import check_count
from ._publisher import History
from ._publisher import Publisher
from ._rundir import run_directory
from ._sockets import find_socket
from ._sockets import NoSocket
from ._stream import Stream
from ._wsgi import Relays
from ._wsgi import transplant
from .brokers import open_broker

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger("flask_push")

# Where browsers and the libraries that imitate them put the position. The header is
# newer than the address, which stays the same from one connection to the next.
_POSITIONS = ("last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id")


class Push:
    """Server push for one app or several.

    :param app: Calls :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._states: weakref.WeakKeyDictionary[Flask, _State] = weakref.WeakKeyDictionary()
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Push {[app.name for app in self._states]}>"

    def init_app(self, app: Flask) -> None:
        """Check the app's configuration. Nothing is opened or started before it is
        needed, and in each process anew.

        :raises ValueError: If the configuration can't be right.
        """
        Config.read(app.config)
        app.extensions["push"] = self
        self._states[app] = _State(weakref.ref(app))

    def publish(
        self,
        channel: str,
        data: t.Any,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
    ) -> str:
        """Store an event, and send it to everybody who listens to its channel.

        From a view, a thread, an ``atexit`` hook; outside of an app context too, if
        there is one app. As :meth:`Publisher.publish`; JSON is made by ``app.json``.
        """
        publisher = self._parts().publisher
        return publisher.publish(channel, data, type=type, key=key, store=store)

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
        connections are returned, its worker is free.

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
        _check(channels, parts.config.max_channels, last, lifetime)
        position = _position(request) if replay else ""
        if parts.testing and not position and not last:
            # So that a test may publish as soon as it has the response.
            position = parts.publisher.position()
        response = _response_class(current_app.response_class)()
        response.headers.update(_wire.HEADERS)
        response.parts = parts
        response.stream_ = Stream(
            channels=tuple(dict.fromkeys(channels)),
            connection=secrets.token_urlsafe(12),
            position=position,
            last=last if replay else 0,
            user=None if user is None else str(user),
            lifetime=lifetime,
            poll=request.args.get("poll") == "1",
        )
        return response

    def _parts(self) -> _Parts:
        if has_app_context():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            if app not in self._states:
                raise RuntimeError(
                    f"The app {app.name!r} is not registered with this Push. Call"
                    " 'push.init_app(app)' when it is made."
                )
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


class _State:
    """What one app has in one process: its configuration, and parts that are made of
    it when they are first used."""

    def __init__(self, app: weakref.ref[Flask]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._parts: _Parts | None = None

    def parts(self) -> _Parts:
        if self._parts is None:
            with self._lock:
                app = self._app()
                if app is None:
                    raise RuntimeError("The app of this Push is gone.")
                if self._parts is None:
                    self._parts = _Parts(app)
                    weakref.finalize(app, self._parts.close).atexit = False
        return self._parts


class _Parts:
    """Chosen at first use: an app that is being tested touches nothing outside."""

    def __init__(self, app: Flask) -> None:
        self.config = config = Config.read(app.config)
        self.testing = app.testing
        url = config.broker_url or ("memory:" if app.testing else "sqlite:")
        directory = None
        if url == "sqlite:":
            directory = run_directory(
                config.run_dir, app.instance_path, app.root_path, app.name
            )
        self.broker = broker = open_broker(
            url, directory, config.given_retention, config.publish_timeout
        )
        app_ref = weakref.ref(app)

        def dumps(data: t.Any) -> str:
            app = app_ref()
            return json.dumps(data) if app is None else app.json.dumps(data)

        self.publisher = Publisher.on(broker, config.max_event_bytes, dumps)
        self.hub = HubThread(lambda: broker, config.options)
        most = 1000 if app.testing else config.relay_max
        self.relays = Relays(most, config.relay_lifetime)

    def close(self) -> None:
        self.hub.stop()
        self.broker.close()

    def answer(
        self,
        response: Response,
        stream: Stream,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> cabc.Iterable[bytes]:
        """Hand the request's client to the hub. Flask's response is final now, and its
        headers are the stream's."""
        headers = response.get_wsgi_headers(environ)
        body: cabc.Iterable[bytes]
        try:
            try:
                fd = find_socket(environ)
            except NoSocket as reason:
                said = "" if self.testing else str(reason)
                body = self.relays.open(stream, self.hub.adopt, said) or self.later()
            else:
                head = _wire.head(response.status, headers, formatdate(usegmt=True))
                transplant(fd, replace(stream, head=head), self.hub.adopt)
                headers["Content-Length"] = "0"
                body = ()
        except (OSError, RuntimeError) as error:
            logger.error("A stream can't be had now, its browser comes back: %s", error)
            body = self.later()
        start_response(response.status, headers.to_wsgi_list())
        return ClosingIterator(body, [response.close, getattr(body, "close", _nothing)])

    def later(self) -> list[bytes]:
        """A stream that only says to come back. Any status but 200 would be final."""
        return [_wire.first_bytes(self.config.options.jittered_retry())]


class _StreamResponse(Response):
    """Has no body: the hub writes it. So everything that is done to a response (cookies,
    ``after_request``) is done to this one, and nothing waits for its end."""

    automatically_set_content_length = False
    parts: _Parts
    stream_: Stream

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code != 200:
            return super().__call__(environ, start_response)
        return self.parts.answer(self, self.stream_, environ, start_response)


def _response_class(base: type[Response]) -> type[_StreamResponse]:
    # Flask turns a response of any other class into one of the app's.
    if base not in _response_classes:
        _response_classes[base] = type("StreamResponse", (_StreamResponse, base), {})
    return _response_classes[base]


_response_classes: dict[type[Response], type[_StreamResponse]] = {}


def _check(channels: tuple[str, ...], most: int, last: int, lifetime: float) -> None:
    if not channels:
        raise ValueError("A stream needs at least one channel.")
    if len(channels) > most:
        raise ValueError(
            f"A stream of {len(channels):,} channels is more than {most:,}"
            " (PUSH_MAX_CHANNELS). Publish to fewer channels that more readers share."
        )
    for channel in channels:
        escape(channel)
    check_count("last", last)
    if not lifetime >= 0:
        raise ValueError(f"lifetime is a number of seconds, or 0, not {lifetime!r}.")


def _position(request: Request) -> str:
    header = request.headers.get("Last-Event-ID", "")
    return header or next(filter(None, map(request.args.get, _POSITIONS)), "")


def _nothing() -> None: ...
