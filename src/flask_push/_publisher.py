"""Publish events and read history, with or without an app."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
import weakref
from dataclasses import dataclass
from functools import partial

from ._checks import check_count
from ._delivery.disconnect import Disconnect
from ._delivery.options import Options
from ._delivery.run_size import MAX_RUN_BYTES
from ._event import Entry
from ._event import Event
from ._event import event_id
from ._event import GAP
from ._event import Name
from ._event import Position
from ._event_checks import Dumps
from ._event_checks import EventChecks
from ._holder.process import LOST_AFTER
from ._holder.process import RunProcess
from ._holder.store import keeper_of_runs
from ._holder.store import RunStore
from ._ipc.lost_runs import Count
from ._ipc.lost_runs import count_none
from ._item_publisher import change
from ._item_publisher import keeper_of
from ._later_publisher import AfterCommitError
from ._later_publisher import SendsLater
from ._listening import hub_without_app
from ._listening import Listens
from ._names import channel_name
from ._publisher_checks import check_function
from ._publisher_checks import check_options
from ._publisher_checks import keeper_of_logs
from ._run_publisher import RunPublisher
from ._selectors import disconnect_of
from ._selectors import NOT_GIVEN
from .brokers import Broker
from .brokers import DISCONNECT_LOG
from .brokers import ItemChange
from .brokers import KeepsItems
from .brokers import KeepsOwnLogs
from .brokers import open_broker

if t.TYPE_CHECKING:
    from ._handoff.listeners_hub import ListenersHub

# Bytes of history that are read at once. One page is enough for most calls.
_PAGE = 4 * 2**20

# Seconds for which stores keep a disconnect at least.
KEEP_DISCONNECTS = 3600


@dataclass(frozen=True, slots=True)
class History:
    """Stored events of a channel, and the position at which they were read."""

    #: The oldest first.
    events: list[Event]
    #: A stream that begins here continues exactly where the events end.
    position: str


class Publisher(RunPublisher, Listens, SendsLater):
    """Publish to a store and read its history without an app: in a task, a cron job, a
    script. Any thread, any process, before or after a fork.

    :param url: The store's URL, as ``PUSH_BROKER_URL``, or a broker. ``sqlite:`` has to
        name the file, as :attr:`Push.broker_url` does.
    :param timeout: Seconds to wait for a busy store. A broker has its own timeout.
    :param max_event_bytes: As ``PUSH_MAX_EVENT_BYTES``.
    :param dumps: Makes JSON of data that is not text.
    :param lost_after: As ``PUSH_LOST_AFTER``. It has to be the same in all processes.
    :param max_run_bytes: As ``PUSH_MAX_RUN_BYTES``.
    :param after_commit_error: As ``PUSH_AFTER_COMMIT_ERROR``.
    """

    # Seconds for which a disconnect is kept.
    _keep_seconds: float = KEEP_DISCONNECTS
    _unsent = 0
    # Made at first use.
    _process: RunProcess | None = None

    def __init__(
        self,
        url: str | Broker,
        *,
        timeout: float = 2,
        max_event_bytes: int = Options.max_event,
        dumps: Dumps = json.dumps,
        lost_after: float = LOST_AFTER,
        max_run_bytes: int = MAX_RUN_BYTES,
        after_commit_error: AfterCommitError | None = None,
    ) -> None:
        check_options(timeout, max_event_bytes, dumps, lost_after, max_run_bytes)
        check_function("after_commit_error", after_commit_error)
        self._after_commit_error = after_commit_error
        broker = url if isinstance(url, Broker) else open_broker(url, timeout=timeout)
        self._broker = broker
        self._max_event_bytes, self._max_run_bytes = max_event_bytes, max_run_bytes
        self._run_times: tuple[float, ...] = (lost_after,)
        self._count_run: Count = count_none
        # Opens the same store for a thread. It has connections of its own if possible: one
        # that gevent has opened in a thread works in no other. A broker that was given may
        # have been made in another way than another broker at its URL.
        self._broker_of_thread: cabc.Callable[[], Broker] = lambda: broker
        if broker.url != "memory:" and not isinstance(url, Broker):
            self._broker_of_thread = partial(open_broker, broker.url, timeout=timeout)
        self._listeners: ListenersHub | None = None
        self._items: KeepsItems | None = None
        self._checks = EventChecks(max_event_bytes, dumps)

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

        When this returns, the event is stored, and the hub sends it even if this process
        dies.

        :param data: Text is sent as it is, anything else as JSON.
        :param type: The name that the browser passes to ``addEventListener``. Types that
            begin with ``push:`` are reserved.
        :param key: If an event with this key was published on the channel, nothing is
            stored, and the first event's id is returned. So a task that may run twice can
            publish.
        :param store: ``False`` for an event that matters only now, such as "Ada is
            typing": it is not stored, and streams that are behind or disconnected don't
            get it.
        :param exclude: The connection that does not receive the event, because its page
            has shown it already: the ``connection`` of its ``push:open``. Any other text
            excludes no connection.
        :return: The event's id, as browsers see it.
        :raises ValueError: If the event can't be sent to browsers.
        :raises TypeError: If the data can't be made JSON, or an argument has the wrong
            type.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If the event may have been stored or not. With a key,
            publish it again.
        """
        return self.publish_many([Event(channel, data, type, key, store, "", exclude)])

    def publish_many(self, events: cabc.Iterable[Event]) -> str:
        """Store events in this order, all or none, in one transaction.

        Otherwise as :meth:`publish`. The ``data`` of each event may be text or anything
        that can be made JSON. An event that has an ``item`` sets it, as :meth:`set` does.

        :return: The id of the last event; an empty string if there are no events.
        """
        return self._store(self._checks.check_all(events))

    def history(self, channel: str, last: int) -> History:
        """Read the newest stored events of a channel, and the position after them.

        Pass the position to the page: its stream then continues exactly where the events
        end.

        :param last: How many events, at most.
        :raises ValueError: If the channel's name or the number is invalid.
        :raises NotRead: If the store can't be read now.
        """
        channel, last = channel_name(channel), check_count("last", last)
        page = self._broker.read([channel], last=last, limit=_PAGE)
        epoch, end, entries = page.epoch, page.end, [*page.entries]
        while page.reach < end:
            after = page.reach
            page = self._broker.read([channel], after=after, limit=_PAGE)
            if page.epoch != epoch or page.proofs[channel].since > after:
                # Between two pages the store began a new epoch, or deleted events of the
                # second page.
                return self.history(channel, last)
            entries += page.entries
        entries = [e for e in entries if e.number <= end and e.type != GAP]
        events = [_event(epoch, entry) for entry in entries]
        return History(events, str(Position(epoch, end)))

    def position(self) -> str:
        """The position of the store now.

        Call it before your view reads its data, and pass it to the page: the page's stream
        then begins with the first event published after this call.

        :raises NotRead: If the store can't be read now.
        """
        page = self._broker.read([], after=0)
        position = Position(page.epoch, page.end)
        self._note(position)
        return str(position)

    def disconnect(
        self,
        *,
        user: Name = NOT_GIVEN,
        session: Name = NOT_GIVEN,
        channel: str = NOT_GIVEN,
        reason: str = "",
    ) -> str:
        """End the streams of a user, of a session, or of a channel, on all machines. With
        several of these, the streams that match all of them.

        When this returns, no event that is published later is written to such a stream, if
        its request had reached the app before the call. Each browser gets
        ``push:disconnect`` with the reason, and asks its view again. So take the right
        away first, then call this: the view that is asked again has to refuse.

        :param user: The `user` of :meth:`Push.stream`.
        :param session: The `session` of :meth:`Push.stream`. Streams that name this
            session later end at once.
        :param channel: One that the stream carries or watches, or on which it shows its
            user as present.
        :param reason: Text for the page, at most 1,000 characters.
        :return: The position of the disconnect in the store.
        :raises TypeError: If nothing is selected, or an argument has the wrong type.
            ``None`` selects nothing.
        :raises ValueError: If an argument can't be the name of anything.
        :raises RuntimeError: If the broker does not keep disconnects.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If it may have been stored or not. Call it again: doing so
            twice does no harm.
        """
        return str(self._disconnect(disconnect_of(user, session, channel, reason)))

    def close(self) -> None:
        """Close files and connections. The next call opens them again."""
        if self._process is not None:
            self._process.close()
        self._broker.close()

    def _note(self, position: Position) -> None:
        """Called with each position that the store returned. For :class:`.AppPublisher`."""

    def _sender(self) -> Publisher:
        return self

    def _store(self, changes: list[Event | ItemChange]) -> str:
        for each in changes:
            if type(each) is ItemChange:
                return self._change(changes)
        if not changes:
            return ""
        position = self._broker.publish(t.cast(list[Event], changes))[-1]
        self._note(position)
        return event_id(position, changes[-1].channel)

    def _disconnect(self, selected: Disconnect) -> Position:
        logs = self._keeper_of_logs()
        position = logs.append(DISCONNECT_LOG, selected.to_bytes(), self._keep_seconds)
        self._note(position)
        return position

    def _keeper_of_logs(self) -> KeepsOwnLogs:
        return keeper_of_logs(self._broker)

    def _change(self, changes: list[Event | ItemChange]) -> str:
        positions, known = change(self._keeper(), changes)
        if known is not None:
            self._note(known)
        last = changes[-1]
        item = last.item if isinstance(last, ItemChange) else ""
        return event_id(positions[-1], last.channel, item)

    def _keeper(self) -> KeepsItems:
        # Finding out costs as much as storing an item in memory.
        if self._items is None:
            self._items = keeper_of(self._broker)
        return self._items

    def _runs(self) -> tuple[RunProcess, EventChecks]:
        if self._process is None:
            # Its thread must not keep this publisher alive.
            note = weakref.WeakMethod(self._note)
            broker, most = keeper_of_runs(self._broker), self._max_run_bytes
            count = self._count_run
            store = RunStore(broker, lambda position: _call(note, position), most, count)
            process = RunProcess(store, self._broker_of_thread, *self._run_times)
            weakref.finalize(self, process.stop).atexit = False
            # Another thread may have made one meanwhile.
            return self.__dict__.setdefault("_process", process), self._checks
        return self._process, self._checks

    def _listeners_hub(self) -> ListenersHub:
        if self._listeners is None:
            self._listeners = hub_without_app(
                self._broker_of_thread, self._max_event_bytes, self.position
            )
        return self._listeners


def _call(method: weakref.WeakMethod[t.Any], position: Position) -> None:
    function = method()
    if function is not None:
        function(position)


def _event(epoch: str, entry: Entry) -> Event:
    id = event_id(Position(epoch, entry.number), entry.channel)
    return Event(entry.channel, entry.data.decode(errors="replace"), entry.type, id=id)
