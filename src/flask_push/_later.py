"""What is sent later, or not at all: when a transaction has committed, or when the caller
says so.

A change is checked and made JSON when it is given, so that nothing of the app is needed
when it is sent. Changes are sent in the order in which they were given: those that stand
beside each other in one call of the store, and a disconnect in a call of its own.
"""

from __future__ import annotations

import collections.abc as cabc
import logging
import types
import typing as t

from ._changes import Change
from ._changes import check_room
from ._changes import deliver
from ._changes import Entry
from ._changes import interrupts
from ._changes import Sender
from ._changes import size_of
from ._event import Event
from ._event import Name
from ._event_checks import unset_change
from ._item_publisher import given_item
from ._selectors import disconnect_of
from ._selectors import NOT_GIVEN
from .brokers import ItemChange

logger = logging.getLogger("flask_push")

#: Keeps all of these changes until the transaction ends, or raises ValueError.
Keep = cabc.Callable[[Sender, cabc.Sequence[Change]], None]


class Later:
    """What is sent when the transaction has committed. Each method checks its arguments as
    the one of :class:`Publisher`, and returns nothing: there is no id yet.

    :meth:`Push.after` returns it. It is for one thread at a time.
    """

    def __init__(self, sender: Sender, keep: Keep) -> None:
        self._sender = sender
        self._keep_for = keep

    def publish(
        self,
        channel: str,
        data: t.Any,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        exclude: str | None = None,
    ) -> None:
        """Publish an event later. As :meth:`Publisher.publish`.

        :raises ValueError: If the event can't be sent to browsers, or if the transaction
            holds too much already: 10,000 changes, or 16 MiB of their data.
        :raises TypeError: If the data can't be made JSON, or an argument has the wrong
            type.
        """
        event = Event(channel, data, type, key, store, "", exclude)
        self._keep([self._sender._checks.check(event)])

    def publish_many(self, events: cabc.Iterable[Event]) -> None:
        """Publish events later, in this order. As :meth:`Publisher.publish_many`."""
        changes = self._sender._checks.check_all(events)
        if any(type(change) is ItemChange for change in changes):
            self._sender._keeper()
        self._keep(changes)

    def set(
        self,
        channel: str,
        item: Name,
        data: t.Any,
        *,
        ttl: float | None = None,
        version: int | None = None,
        type: str = "message",
    ) -> None:
        """Set an item later. As :meth:`Publisher.set`."""
        self.publish_many([given_item(channel, item, data, type, ttl, version)])

    def unset(self, channel: str, *items: Name, version: int | None = None) -> None:
        """Unset items later. As :meth:`Publisher.unset`."""
        self._sender._keeper()
        self._keep([unset_change(channel, item, version) for item in items])

    def disconnect(
        self,
        *,
        user: Name = NOT_GIVEN,
        session: Name = NOT_GIVEN,
        channel: str = NOT_GIVEN,
        reason: str = "",
    ) -> None:
        """End streams later. As :meth:`Publisher.disconnect`."""
        selected = disconnect_of(user, session, channel, reason)
        self._sender._keeper_of_logs()
        self._keep([selected])

    def _keep(self, changes: cabc.Sequence[Change]) -> None:
        self._keep_for(self._sender, changes)


class Held(Later):
    """What is sent when :meth:`send` is called. See :meth:`Push.held`.

    It has the methods of :class:`Later`, too.
    """

    def __init__(self, sender: Sender, changes: cabc.Iterable[Change] = ()) -> None:
        self._sender = sender
        self._changes = [*changes]
        self._bytes = sum(map(size_of, self._changes))
        self._is_over = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{len(self._changes)} changes]>"

    def __enter__(self) -> t.Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._is_over = True
        left = len(self._changes)
        self._changes = []
        if left and error is None:
            raise RuntimeError(
                f"{left:,} changes were neither sent nor dropped. Call later.send() when"
                " your transaction has committed, or later.drop()."
            )

    def send(self) -> str:
        """Send what was gathered.

        If the store refuses a part, the other parts are sent all the same, and the first
        error is raised. What was not sent is still held then, so that you can call this
        again.

        :return: The id of the last event or item, or the position of a disconnect. An empty
            string if nothing was held.
        :raises NotPublished: If a part was not stored.
        :raises PublishUncertain: If a part may have been stored or not. What has a ``key``
            is stored once, also if it is sent again.
        :raises ItemsFull: If a channel has too many items.
        """
        try:
            last, errors = deliver(self._sender, self._changes)
        finally:
            self._bytes = sum(map(size_of, self._changes))
        if errors:
            raise errors[0]
        return last

    def drop(self) -> None:
        """Drop what was gathered."""
        self._changes = []
        self._bytes = 0

    def _keep(self, changes: cabc.Sequence[Change]) -> None:
        if self._is_over:
            raise RuntimeError(
                "The block 'with push.held()' is over, and nothing would send this change."
                " Make it inside of the block."
            )
        size = sum(map(size_of, changes))
        check_room(len(self._changes) + len(changes), self._bytes + size)
        self._changes += changes
        self._bytes += size


def send_committed(given: cabc.Iterable[Entry]) -> None:
    """Send what a transaction held, which has committed.

    That can't be undone, so no error of a store is raised: it is logged, counted, and
    passed to ``PUSH_AFTER_COMMIT_ERROR``.
    """
    waiting = _by_sender(given)
    try:
        for sender, changes in [*waiting.items()]:
            _, errors = deliver(sender, changes)
            del waiting[sender]
            if errors:
                _report(sender, changes, errors[0])
    except BaseException as error:
        for sender, changes in waiting.items():
            _log_unsent(sender, changes, _name(error))
        raise


def log_committed(given: cabc.Iterable[Entry], reason: str) -> None:
    """Log that what a transaction held was not sent, though it has committed."""
    for sender, changes in _by_sender(given).items():
        _log_unsent(sender, changes, reason)


def _by_sender(given: cabc.Iterable[Entry]) -> dict[Sender, list[Change]]:
    found: dict[Sender, list[Change]] = {}
    for sender, change, _ in given:
        found.setdefault(sender, []).append(change)
    return found


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _log_unsent(sender: Sender, changes: list[Change], reason: str) -> None:
    sender._unsent += len(changes)
    channels = {change.channel for change in changes} - {None}
    logger.error(
        "Could not send %d changes on %d channels, whose transaction has committed; set"
        " PUSH_AFTER_COMMIT_ERROR to send them later: %s",
        len(changes),
        len(channels),
        reason,
    )


def _report(sender: Sender, changes: list[Change], error: Exception) -> None:
    _log_unsent(sender, changes, _name(error))
    if sender._after_commit_error is None:
        return
    try:
        sender._after_commit_error(error, Held(sender, changes))
    except Exception as failure:
        if interrupts(failure):
            raise
        logger.exception(
            "PUSH_AFTER_COMMIT_ERROR raised an exception; the changes were not sent"
        )
