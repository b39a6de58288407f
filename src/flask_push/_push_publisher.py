"""Publish and read with the services of an app."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import render_template

from ._event import Event
from ._event import Name
from ._event_checks import EventChecks
from ._handoff.listeners_hub import ListenersHub
from ._holder.process import RunProcess
from ._hub.thread import ThreadDoor
from ._later_publisher import keep_in
from ._later_publisher import SendsLater
from ._listening import Listens
from ._presence import Presence
from ._publisher import History
from ._publisher import Publisher
from ._push_later import PushHeld
from ._push_later import PushLater
from ._run_publisher import RunPublisher
from ._selectors import NOT_GIVEN
from ._state import Services
from .brokers import ItemChange
from .brokers import KeepsItems


class PushPublisher(RunPublisher, Listens, SendsLater):
    """What :class:`Push` does without a request, as a :class:`Publisher`."""

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
        """Store an event, and send it to all streams of its channel.

        As :meth:`Publisher.publish`, but ``app.json`` makes the JSON. It works in a view, a
        thread or an ``atexit`` hook. It needs an app context only if this Push has
        several apps.
        """
        publisher = self._services().publisher
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
        """Render a template, and publish the result.

        As ``flask.render_template`` and :meth:`publish`, in an app context. The template
        is rendered once, for all readers.
        """
        data = render_template(template, **context)
        return self.publish(channel, data, type=type, key=key, store=store, exclude=exclude)

    def publish_many(self, events: cabc.Iterable[Event]) -> str:
        """Store events in this order, all or none. As :meth:`Publisher.publish_many`."""
        return self._services().publisher.publish_many(events)

    def history(self, channel: str, last: int) -> History:
        """The newest events of a channel. As :meth:`Publisher.history`."""
        return self._services().publisher.history(channel, last)

    def presence(self, channel: str) -> Presence:
        """Who is present on a channel. As :meth:`Publisher.presence`.

        While ``app.testing`` is true, it waits until the store has whom the streams show,
        for a second at most.
        """
        services = self._services()
        if services.testing and isinstance(services.hub, ThreadDoor):
            services.hub.settle()
        return services.publisher.presence(channel)

    def position(self) -> str:
        """The position of the store now. As :meth:`Publisher.position`."""
        return self._services().publisher.position()

    def disconnect(
        self,
        *,
        user: Name = NOT_GIVEN,
        session: Name = NOT_GIVEN,
        channel: str = NOT_GIVEN,
        reason: str = "",
    ) -> str:
        """End the streams of a user, of a session, or of a channel, on all machines.

        As :meth:`Publisher.disconnect`. A view that was still running when this was called
        can't open such a stream either: its browser asks it again.

        :raises RuntimeError: If ``PUSH_DISCONNECT`` is ``False``.
        """
        return self._services().publisher.disconnect(
            user=user, session=session, channel=channel, reason=reason
        )

    def after(self, session: t.Any) -> PushLater:
        """Publish, set, unset and disconnect when the session's transaction has committed,
        and not at all if it is rolled back. As :meth:`Publisher.after`.

        The result also has ``publish_template``, which renders at once.
        """
        return PushLater(self._sender(), keep_in(session))

    def held(self) -> PushHeld:
        """Publish, set, unset and disconnect when you call ``send()``. As
        :meth:`Publisher.held`, with ``publish_template``, too."""
        return PushHeld(self._sender())

    @property
    def broker_url(self) -> str:
        """The store's URL, for a :class:`Publisher` in a process without the app."""
        return self._services().broker.url

    def _sender(self) -> Publisher:
        return self._services().publisher

    def _store(self, changes: list[Event | ItemChange]) -> str:
        return self._services().publisher._store(changes)

    def _keeper(self) -> KeepsItems:
        return self._services().publisher._keeper()

    def _runs(self) -> tuple[RunProcess, EventChecks]:
        return self._services().publisher._runs()

    def _listeners_hub(self) -> ListenersHub:
        return self._services().listeners

    def _services(self) -> Services:
        """Those of the app that is meant.

        :raises RuntimeError: If there is none, or if there are several.
        """
        raise NotImplementedError
