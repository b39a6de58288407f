"""Listen to channels in a process of the app, or in one without the app."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._checks import check_seconds
from ._delivery.options import Options
from ._event import Position
from ._names import channel_name
from ._names import channel_names
from ._names import plain
from .brokers import Broker
from .brokers import KeepsItems

if t.TYPE_CHECKING:
    from ._handoff.listener import Listener
    from ._handoff.listeners_hub import ListenersHub


class Listens:
    """What :class:`Publisher` and :class:`Push` do to listen."""

    def listen(
        self,
        *channels: str,
        since: str = "",
        watch: cabc.Iterable[str] = (),
        timeout: float | None = None,
    ) -> Listener:
        """Return the events of these channels, one after another, without HTTP.

        No view is asked, so it may listen to any channel. It goes on when the hub ends or
        is replaced. If events are missing, an event of the type ``push:gap`` comes first.
        :meth:`disconnect` does not end it, and no limit counts it. It uses the app's hub
        process if one runs, and otherwise a thread of this process.

        :param since: The position or the id of an event, after which it begins. The default
            is now.
        :param watch: The channels of which it returns who is present, as `watch` of
            :meth:`Push.stream`. If only these are given, it returns nothing else.
        :param timeout: Seconds without an event after which it ends. The time that you
            take for an event does not count.
        :raises ValueError: If no channel is given, or an argument is invalid.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If `watch` is given, and the broker keeps no items.
        """
        # A process that never listens needs nothing of this.
        from ._handoff.listener import Listener

        watched = channel_names("watch", watch)
        names = _checked(channels, watched)
        _check_since(since)
        if timeout is not None:
            check_seconds("timeout", timeout, ", or None", " None waits without end.")
        if watched:
            self._keeper()
        return Listener(self._listeners_hub(), names, plain(since), timeout, watched)

    # The rest of the publisher.

    def _keeper(self) -> KeepsItems:
        raise NotImplementedError

    def _listeners_hub(self) -> ListenersHub:
        raise NotImplementedError


def hub_without_app(
    broker: cabc.Callable[[], Broker], max_event: int, position: cabc.Callable[[], str]
) -> ListenersHub:
    """The hub of listeners in a process without the app: always a thread.

    :param broker: Returns the broker of the thread.
    :param max_event: Bytes of one event's data.
    :param position: Returns the position of the store now.
    """
    from ._handoff.listeners_hub import ListenersHub
    from ._hub.thread import ThreadDoor

    options = Options(max_event=max_event)

    def thread() -> ThreadDoor:
        return ThreadDoor(broker, options)

    return ListenersHub((), thread, position, lambda stream: "", options.heartbeat)


def _checked(channels: tuple[str, ...], watched: tuple[str, ...]) -> tuple[str, ...]:
    if not channels and not watched:
        raise ValueError("Name at least one channel: listen('news').")
    for channel in channels:
        if not isinstance(channel, str):
            raise TypeError(
                f"A channel's name is text, not {channel!r:.80}. Pass several channels as"
                " several arguments: listen(*channels)."
            )
    return tuple(dict.fromkeys(map(channel_name, channels)))


def _check_since(since: str) -> None:
    if not isinstance(since, str):
        raise TypeError(
            f"since is a position or the id of an event, as text, not {since!r:.80}."
        )
    if since and not Position.parse(since).epoch:
        raise ValueError(
            f"since is {since!r:.80}, which is neither a position nor the id of an event."
            " Pass what push.position() returned, or the position of a listener."
        )
