"""The extension: what a Flask app sees."""

from __future__ import annotations

import collections.abc as cabc
import gc
import typing as t
import weakref
from uuid import UUID

from flask import current_app
from flask import Flask
from flask import has_app_context
from flask import render_template
from flask import request
from flask import Response

from . import _request
from ._app_log import add_default_handler
from ._delivery import wire
from ._event import Event
from ._publisher import check_count
from ._publisher import History
from ._response import response_class
from ._scripts import serve_scripts
from ._state import make_bridge
from ._state import Parts
from ._state import State
from .brokers import Bridge


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
        :raises TypeError: If it is no Flask app.
        """
        app = _app(app)
        state = State(app, self._bridges)
        if state.url_prefix:
            serve_scripts(app, state.url_prefix)
        app.extensions["push"] = self
        add_default_handler()
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
        elif (app := _app(app)) in self._states:
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
        each. A POST may have them in its body, as a form or as JSON: ``{"channel": […]}``.

        Anybody can ask for any: your view decides which of them it grants. If one is no
        name of a channel, or there are more than a stream may have, the answer is 400.
        """
        return _request.channels(request, self._parts().config.max_channels)

    def stream(
        self,
        *channels: str,
        last: int = 0,
        user: str | int | UUID | None = None,
        lifetime: float | None = None,
        replay: bool = True,
    ) -> Response:
        """Answer a request with a stream of these channels' events.

        Return it from a view, which has decided that whoever asks may listen, and so may
        read what the channels keep. The view ends there: its session is saved, its
        connections are returned, its worker is free. Without any channel the answer is
        403 if the request asks for some, else 400.

        :param last: Begin so many events back, for a browser that brings no position.
        :param user: Whose stream it is: what identifies the user in your app.
        :param lifetime: Seconds after which the stream ends and the browser asks again,
            about, so that the view decides anew; ``0`` for never. The default is
            ``PUSH_LIFETIME``. Nothing is lost between.
        :param replay: ``False`` ignores the position that the browser brings, where what
            was said before it joined must not be read.
        :raises ValueError: If there can't be such a stream: there are too many channels, or
            a channel's name is too long.
        :raises TypeError: If an argument is of another type than it has to be.
        """
        parts = self._parts()
        if lifetime is None:
            lifetime = parts.config.lifetime
        last = check_count("last", last)
        if not isinstance(replay, bool):
            raise TypeError(f"replay is True or False, not {replay!r:.80}.")
        _request.check(request, channels, parts.config.max_channels, lifetime)
        asked = _request.stream(request)
        position = asked.position if replay else ""
        if parts.testing and not position and not last:
            # So that a test may publish as soon as it has the response.
            position = parts.publisher.position()
        response = response_class(current_app.response_class)(headers=wire.HEADERS)
        response.parts = parts
        response.stream_ = asked._replace(
            channels=tuple(dict.fromkeys(channels)),
            position=position,
            last=last if replay else 0,
            user=_request.user(user),
            address=request.remote_addr if parts.config.max_streams_per_address else None,
            lifetime=lifetime,
        )
        # A ticket is for an address, which doesn't say all that a POST asks for.
        response.may_return = replay and not asked.poll and request.method == "GET"
        return response

    def _parts(self) -> Parts:
        if has_app_context():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            if app not in self._states:
                raise RuntimeError(_unknown(app))
            return self._states[app].parts()
        states = list(self._states.values())
        if len(states) > 1:
            # An app refers to itself. One that a test has made and left may not have been
            # collected yet, and which app is meant must not depend on when that happens.
            gc.collect()
            states = list(self._states.values())
        if not states:
            raise RuntimeError("This Push has no app. Call 'push.init_app(app)' first.")
        if len(states) > 1:
            raise RuntimeError(
                f"This Push has {len(states)} apps, and no app context says which is"
                " meant. Use 'with app.app_context():', or a Publisher."
            )
        return states[0].parts()


def _app(app: Flask) -> Flask:
    """The app itself, in place of ``current_app``, which is another one elsewhere."""
    if not isinstance(app, Flask):
        raise TypeError(f"A Push is for a Flask app, not for {app!r:.80}.")
    return t.cast(Flask, getattr(app, "_get_current_object", lambda: app)())


def _unknown(app: Flask) -> str:
    return (
        f"The app {app.name!r} is not registered with this Push. Call"
        " 'push.init_app(app)' when it is made."
    )
