"""The extension."""

from __future__ import annotations

import collections.abc as cabc
import gc
import typing as t
import weakref

from flask import current_app
from flask import Flask
from flask import has_app_context
from flask import Request
from flask import request
from flask import Response

from . import _request
from ._admin import Guard
from ._admin import serve_admin
from ._app_bridges import AppBridges
from ._app_bridges import make_bridge
from ._app_log import add_default_handler
from ._app_outboxes import Opens
from ._arrival import Arrival
from ._event import Name
from ._follower import Follower
from ._follower import WireName
from ._monitoring import Monitored
from ._presence_checks import PresenceGrant
from ._push_publisher import PushPublisher
from ._response import respond
from ._response import StreamResponse
from ._runs import Run
from ._scripts import serve_scripts
from ._signed import serve_addresses
from ._signed import SignsAddresses
from ._state import AppState
from ._state import Services
from .brokers import Bridge


class Push(SignsAddresses, PushPublisher, Monitored):
    """Server push for one app or several.

    :param app: Passed to :meth:`init_app`.
    :param admin: Called without arguments before each request to the admin page, which is
        at ``PUSH_ADMIN_URL_PREFIX``. It returns ``True`` for those who may see the page and
        end streams there; ``False``, and the answer is 404; or a response, such as a
        redirect to a login.
    """

    def __init__(self, app: Flask | None = None, *, admin: Guard | None = None) -> None:
        self._admin = admin
        self._states: weakref.WeakKeyDictionary[Flask, AppState] = (
            weakref.WeakKeyDictionary()
        )
        self._arrivals: weakref.WeakKeyDictionary[Flask, Arrival] = (
            weakref.WeakKeyDictionary()
        )
        self._bridges: list[Bridge] = []
        # Each adds itself.
        self._outboxes: list[Opens] = []
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        unsent = f", {self.unsent} unsent" if self.unsent else ""
        return f"<Push {[app.name for app in self._states]}{unsent}>"

    @property
    def unsent(self) -> int:
        """How many changes of :meth:`after` this process could not send though their
        transaction had committed. Those that you sent again later are among them."""
        return sum(state.unsent for state in self._states.values())

    def init_app(self, app: Flask) -> None:
        """Check the app's configuration, and serve the scripts. Each process opens its
        store at its first request, and starts the hub at the first stream.

        :raises ValueError: If the configuration is invalid.
        :raises TypeError: If `app` is not a Flask app.
        :raises RuntimeError: If the configuration needs something that only Linux has, or
            if the app has an admin page, and this Push was made without ``admin=``.
        """
        app = _app(app)
        state = AppState(app, AppBridges(self._bridges), self._outboxes)
        if state.url_prefix:
            serve_scripts(app, state.url_prefix)
        serve_addresses(app, app.config.get("PUSH_STREAM_URL"))
        if prefix := app.config.get("PUSH_ADMIN_URL_PREFIX"):
            serve_admin(app, prefix, self._admin, self)
        app.extensions["push"] = self
        add_default_handler()
        self._states[app] = state
        if app in self._arrivals:
            self._arrivals[app].state = state
        else:
            self._arrivals[app] = arrival = Arrival(state)
            wsgi: t.Any = arrival.around(app.wsgi_app)
            app.wsgi_app = wsgi  # type: ignore[method-assign]

    def bridge(
        self,
        source: str,
        *,
        channel: str,
        type: str = "message",
        wire: t.Literal["flask-sse"] | None = None,
        app: Flask | None = None,
    ) -> None:
        """Publish what other programs send with a bare ``PUBLISH`` in the Redis of
        ``PUSH_BROKER_URL``.

        One of all hubs does this, for as long as a hub runs. Where it may have missed
        something, readers get a gap. Call it where the app is created, before or after
        :meth:`init_app`.

        :param source: ``redis:`` and the name of a Redis channel.
        :param channel: The channel on which it is published.
        :param type: The type of the events.
        :param wire: The format of what is published. ``flask-sse`` takes the data and the
            type out of what Flask-SSE publishes. By default, all of it is the data.
        :param app: Only for this app. The default is all apps of this Push.
        :raises ValueError: If an argument is invalid.
        :raises RuntimeError: If the app is already in use. If the broker is not a Redis,
            the first use of the app raises it.
        """
        bridge = make_bridge(source, channel, type, wire)
        if app is None:
            for state in self._states.values():
                state.bridges.add(bridge)
            self._bridges.append(bridge)
        elif (app := _app(app)) in self._states:
            self._states[app].bridges.add(bridge)
        else:
            raise RuntimeError(_unknown(app))

    def requested(self) -> tuple[str, ...]:
        """The channels that the request asks for: one ``channel=`` each in its address, or
        in the body of a POST, as a form or as JSON: ``{"channel": […]}``.

        A request can ask for any channel, and your view decides which it grants. The
        answer is 400 if a name is invalid, or if there are more than
        ``PUSH_MAX_CHANNELS``.
        """
        return _request.channels(request, self._services().config.max_channels)

    def stream(
        self,
        *channels: str,
        last: int = 0,
        user: Name | None = None,
        session: Name | None = None,
        lifetime: float | None = None,
        replay: bool = True,
        every: float = 0,
        present: cabc.Mapping[str, t.Any] | None = None,
        watch: cabc.Iterable[str] = (),
        counted: cabc.Iterable[str] = (),
    ) -> StreamResponse:
        """Answer the request with a stream of these channels. Return it from a view.

        The view grants the channels, with the events that they store. It ends as any view:
        its session is saved, and its worker is free. Without a channel the answer is 403 if
        the request asks for channels, else 400.

        :param last: Send this many stored events first, if the browser has no position.
        :param user: What identifies the user in your app.
        :param session: What identifies this login of the user, if :meth:`disconnect` has to
            end the streams of one login: a random word that your app keeps in the
            session from the login on.
        :param lifetime: Seconds after which, about, the browser reconnects, so that the
            view decides again. No event is lost. ``0`` means never; the default is
            ``PUSH_LIFETIME``.
        :param replay: ``False`` ignores the browser's position, if users must not read
            events from before they joined.
        :param every: Write to the stream at most once in so many seconds, up to 60. What
            happens in between is sent together: each event, and of each item only its
            newest value. ``0`` sends everything at once.
        :param present: The channels on which the user is listed as present, each with what
            is shown of the user there: anything that can be made JSON, of at most 1,024
            bytes. It needs a `user`, whose name is shown, too.
        :param watch: The channels of which the page gets who is present. The view decides
            who may know that.
        :param counted: The channels on which the user is counted and not listed. For those
            with more than 1,000 users.
        :return: The response. Its ``connection`` is the id that the page will get with
            ``push:open``.
        :raises ValueError: If there are too many channels, or a name is invalid.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If presence is granted, and the broker keeps no items.
        """
        # The objects themselves: each use of a proxy would look them up again.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        services = self._services_of(app)
        grant = _request.Grant(channels, last, user, session, lifetime, replay, every)
        stream = grant.stream(services.config, asked)
        if not (present is None and watch == () and counted == ()):
            granted = PresenceGrant(present, watch, counted)
            stream = granted.grant(stream, services)
        stream = _request.asked(stream, replay, asked, services)
        stream = self._arrivals[app].add_seen(stream, asked, services)
        # A ticket is for an address. The body of a POST may ask for more.
        may_return = replay and not stream.poll and asked.method == "GET"
        return respond(app.response_class, services, stream, may_return)

    def follow(
        self,
        run: Run | str,
        *,
        wire: WireName = "push",
        late: float = 0,
        user: Name | None = None,
        session: Name | None = None,
    ) -> Response:
        """Answer the request with a run: from its first event to its end, and end there.
        Return it from a view.

        A browser that was cut off gets the rest. If there is nothing to follow, or the
        browser has all of it, the answer is 204, after which ``EventSource`` asks no more.

        :param run: The run, whether it is over or not. Or a channel: then it is the run
            that is active there now.
        :param wire: The format. ``push`` is for browsers. ``ai-sdk``, ``ag-ui`` and
            ``openai`` are for clients of the AI SDK, of AG-UI, and of OpenAI's API. They
            get 503 if the run can't be sent now, and the last two get 404 if there is
            nothing to follow.
        :param late: On a channel where no run is active, follow one that has ended within
            so many seconds.
        :param user: As for :meth:`stream`.
        :param session: As for :meth:`stream`.
        :raises ValueError: If a name is invalid, or if there is no such wire.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If the broker keeps no runs.
        """
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        services = self._services_of(app)
        follower = Follower(app, services, self._arrivals[app], asked)
        return follower.answer(run, wire, late, user, session)

    def _services(self) -> Services:
        if has_app_context():
            return self._services_of(
                current_app._get_current_object()  # type: ignore[attr-defined]
            )
        states = list(self._states.values())
        if len(states) > 1:
            # An app refers to itself, so an app of an earlier test may not have been
            # collected yet. The result must not depend on when that happens.
            gc.collect()
            states = list(self._states.values())
        if not states:
            raise RuntimeError("This Push has no app. Call 'push.init_app(app)' first.")
        if len(states) > 1:
            raise RuntimeError(
                f"This Push has {len(states)} apps, and no app context selects one. Use"
                " 'with app.app_context():', or a Publisher."
            )
        return states[0].services()

    def _arrival(self, app: Flask) -> Arrival:
        return self._arrivals[app]

    def _services_of(self, app: Flask) -> Services:
        state = self._states.get(app)
        if state is None:
            raise RuntimeError(_unknown(app))
        return state.services()


def _app(app: Flask) -> Flask:
    """The app itself, if `app` is ``current_app``, which stands for other apps later."""
    if not isinstance(app, Flask):
        raise TypeError(f"A Push is for a Flask app, not for {app!r:.80}.")
    return t.cast(Flask, getattr(app, "_get_current_object", lambda: app)())


def _unknown(app: Flask) -> str:
    return (
        f"The app {app.name!r} is not registered with this Push. Call"
        " 'push.init_app(app)' when it is made."
    )
