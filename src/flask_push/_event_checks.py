"""Checks of what is published, before anything is stored."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t
from dataclasses import replace

from . import sse
from ._checks import check_key
from ._checks import check_seconds
from ._delivery import wire
from ._delivery.connection_id import public_id_of
from ._event import Event
from ._event import MAX_NUMBER
from ._names import channel_name
from ._names import check_channel
from ._names import CHECKED
from ._names import item_name
from ._names import plain
from .brokers import ItemChange

#: Makes JSON. Some libraries return bytes in UTF-8.
Dumps = cabc.Callable[[t.Any], str | bytes]

_ENDLESS = " Use None for an item that does not end, and unset to remove one."


class EventChecks:
    """
    :param max_event_bytes: As ``PUSH_MAX_EVENT_BYTES``.
    """

    def __init__(self, max_event_bytes: int, dumps: Dumps) -> None:
        self._max_event_bytes = max_event_bytes
        self.dumps = dumps

    def check(self, event: Event) -> Event | ItemChange:
        """The event as a broker stores it: its data is text. If it sets an item, the change
        of the item.

        :raises TypeError: If a value has another type.
        :raises ValueError: If no browser could receive the event.
        """
        if not isinstance(event, Event):
            raise TypeError(
                f"publish_many takes events, not {event!r:.80}. Make each with"
                " flask_push.Event(channel, data)."
            )
        check_channel(event.channel)
        if event.type != "message":
            wire.check_type(event.type)
        if event.key is not None:
            check_key(event.key)
            if type(event.key) is not str:
                event = replace(event, key=plain(event.key))
        if event.store is not True and event.store is not False:
            raise TypeError(f"store is True or False, not {event.store!r:.80}.")
        if not (type(event.channel) is type(event.type) is str):
            event = replace(event, channel=plain(event.channel), type=plain(event.type))
        data = self.text(event.data)
        if event.item != "":
            return _item_change(event, data)
        if event.ttl is not None or event.version is not None:
            raise ValueError(
                "Only an item has a ttl or a version. Name the item with item=, or leave"
                " them out."
            )
        if event.exclude is None:
            return event if data is event.data else replace(event, data=data)
        # A page may send any text as its connection. Brokers get only the public part.
        public_id = public_id_of(event.exclude) if isinstance(event.exclude, str) else ""
        return replace(event, data=data, exclude=public_id or None)

    def check_all(self, events: cabc.Iterable[Event]) -> list[Event | ItemChange]:
        """As :meth:`check`, for what ``publish_many`` was given."""
        try:
            given = iter(events)
        except TypeError:
            raise TypeError(
                f"publish_many takes a list of events, not {events!r:.80}."
            ) from None
        check, is_plain = self.check, self._is_plain
        return [event if is_plain(event) else check(event) for event in given]

    def _is_plain(self, event: Event) -> bool:
        """Whether it is as most events are, so that nothing has to be looked at closely."""
        return (
            type(event) is Event
            and type(data := event.data) is str
            and type(event.channel) is str
            and event.channel in CHECKED
            and event.type == "message"
            and type(event.type) is str
            and event.key is None
            and event.exclude is None
            and event.ttl is None
            and event.version is None
            and event.store is True
            and event.item == ""
            and data.isascii()
            and len(data) * 7 <= self._max_event_bytes
        )

    def text(self, data: t.Any, event_type: str = "message") -> str:
        """The data of an event of this type as text.

        :raises TypeError: If the data can't be made JSON.
        :raises ValueError: If no browser could receive the event.
        """
        if event_type != "message":
            wire.check_type(event_type)
        if type(data) is not str:
            data = plain(data) if isinstance(data, str) else json_text(data, self.dumps)
        try:
            encoded = data.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "The data holds a lone surrogate, which is not text."
            ) from None
        if len(encoded) * 7 > self._max_event_bytes:
            self._check_size(encoded)
        return t.cast(str, data)

    def _check_size(self, data: bytes) -> None:
        size, most = sse.sent_size(data), self._max_event_bytes
        if size > most:
            lines = "" if size == len(data) else " A line break counts seven bytes."
            raise ValueError(
                f"The event has {size:,} bytes of data, more than {most:,}"
                f" (PUSH_MAX_EVENT_BYTES).{lines} Publish a URL from which the data can be"
                " fetched instead."
            )


def json_text(data: t.Any, dumps: Dumps) -> str:
    """The data as JSON, as text.

    :raises TypeError: If the data can't be made JSON.
    :raises ValueError: If a browser could not parse the JSON.
    """
    try:
        made = dumps(data)
    except RecursionError:
        raise ValueError("The data is nested too deeply to be JSON.") from None
    except TypeError as error:
        if isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                "Data is text, or anything that can be made JSON, but not bytes. Decode"
                " them, or publish them in base64."
            ) from error
        raise
    text = made.decode() if isinstance(made, bytes) else made
    if not isinstance(text, str):
        raise TypeError(f"dumps has to return JSON as text, not {text!r:.80}.")
    # Python writes these, and no browser parses them.
    if "NaN" in text or "Infinity" in text:
        found: list[str] = []
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(text, parse_constant=found.append)
        if found:
            raise ValueError(
                f"The data holds {found[0]}, and no browser could parse that as JSON."
                " Publish None or text instead."
            )
    return text


def unset_change(channel: str, item: object, version: int | None) -> ItemChange:
    """The change that unsets an item.

    :raises TypeError: If a value has another type.
    :raises ValueError: If it can't be one of an item.
    """
    channel, version = channel_name(channel), _checked_version(version)
    return ItemChange(channel, item_name(item), None, version=version)


def _item_change(event: Event, data: str) -> ItemChange:
    item = item_name(event.item)
    # Law 21.
    refused = ""
    if not event.store:
        refused = (
            "store=False, because items are always stored. Set it with a ttl, or publish an"
            " event."
        )
    elif event.key is not None:
        refused = (
            "key, because only its newest value is kept. Use a version to refuse an older"
            " one."
        )
    elif event.exclude is not None:
        refused = (
            "exclude, because every page needs all items. Remove exclude; the page that"
            " made the change sees the value that it knows."
        )
    if refused:
        raise ValueError(f"The item {item!r} can't have {refused}")
    if event.ttl is not None:
        check_seconds("ttl", event.ttl, " or None", _ENDLESS)
    version = _checked_version(event.version)
    return ItemChange(event.channel, item, data, event.type, event.ttl, version)


def _checked_version(version: int | None) -> int | None:
    if version is None:
        return None
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(
            f"version is a whole number that grows with each change, not {version!r:.80}."
        )
    if not 0 <= version <= MAX_NUMBER:
        raise ValueError(f"version is a number from 0 to 2**63 - 1, not {version!r:.80}.")
    # A Redis takes no member of an enum.
    return int(version)
