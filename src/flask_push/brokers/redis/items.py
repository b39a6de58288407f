"""Items in a Redis: they are changed and read by scripts, as events are.

Those that are due, and those of an owner, are on channels that the caller does not know. A
script finds their names; the caller names the keys of their channels in its next call.
"""

from __future__ import annotations

import collections.abc as cabc
from functools import partial

from ..._event import Event
from ..._event import Page
from ..._event import Position
from .._items import check_bounds
from .._items import check_expectation
from ..base import Retention
from ..items import check_kind
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from . import calls
from . import item_replies
from . import scripts
from .asking import Asking
from .item_calls import Changes
from .item_calls import ItemCalls


class Items:
    """
    :param single: Whether the store is in no Cluster.
    """

    def __init__(
        self,
        asking: Asking,
        store: calls.Store,
        retention: Retention | None,
        single: bool,
    ) -> None:
        self._asking = asking
        self._calls = ItemCalls(store, retention)
        self._change = scripts.CHANGE if single else scripts.SCHANGE
        self._forget = scripts.FORGET if single else scripts.SFORGET

    def change(
        self, changes: cabc.Sequence[Event | ItemChange], deadline: float
    ) -> tuple[list[Position], list[bytes]]:
        """The positions, and the script's reply.

        :raises Conflict: If an expectation is not met.
        :raises ItemsFull: If a channel would exceed its bounds.
        """
        call = Changes(changes)
        args = partial(self._calls.change, call)
        reply = self._asking.write(self._change, args, deadline)
        refused = reply[2] if len(reply) > 2 else b""
        if refused == item_replies.CONFLICT:
            index, found = item_replies.conflict(reply)
            check_expectation(call.items[index], found)
        if refused == item_replies.FULL:
            index, retention, *counts = item_replies.full(reply)
            kind, channel = list(call.channels)[index]
            check_bounds(kind, channel, retention, *counts)
        return call.positions(reply), reply

    def page(self, channels: list[str], after: int | None, last: int, limit: int) -> Page:
        args = partial(self._calls.read_page, channels, after, last, limit)
        reply = self._asking.read(scripts.READ_WITH_ITEMS, args)
        return item_replies.page(reply, channels, after, limit)

    def read(
        self,
        channels: list[str],
        after: int,
        upto: int | None,
        limit: int,
        kind: str,
        due: bool,
    ) -> ItemsPage:
        check_kind(kind)
        args = partial(self._calls.read, channels, after, upto, limit, kind, due)
        reply = self._asking.read(scripts.READ_ITEMS, args)
        return item_replies.items_page(reply, channels, after)

    def due(self, limit: int) -> list[ItemChange]:
        args = partial(self._calls.due, limit)
        return item_replies.due(self._asking.read(scripts.DUE, args))

    def owned(self, owner: str, kind: str, limit: int) -> list[ItemRow]:
        check_kind(kind)
        beginning = f"{kind}:{len(owner.encode())}:{owner}:"
        args = partial(self._calls.owned, beginning, limit)
        reply = self._asking.read(scripts.OWNED, args)
        found = item_replies.owned(reply, beginning)
        if not found:
            return []
        reply = self._asking.read(scripts.READ_ROWS, partial(self._calls.rows, kind, found))
        return item_replies.owned_rows(reply, found, owner)

    def find(self, channel: str, items: cabc.Iterable[str], kind: str) -> ItemsPage:
        check_kind(kind)
        names = [*dict.fromkeys(items)]
        # The channel's horizon is wanted also without items.
        found = [(channel, name) for name in names or [""]]
        reply = self._asking.read(scripts.READ_ROWS, partial(self._calls.rows, kind, found))
        return item_replies.found_rows(reply, channel, names or [""])

    def forget(
        self, kind: str, channel: str, upto: int, limit: int, deadline: float
    ) -> bool:
        """As :meth:`.KeepsRuns.forget`. A call that is repeated does no harm, so the store
        does not remember it."""
        args = partial(self._calls.forget, kind, channel, upto, limit)
        reply = self._asking.write(self._forget, args, deadline)
        return bool(reply[2])
