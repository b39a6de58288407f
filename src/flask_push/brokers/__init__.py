"""Where events are kept. :func:`open_broker` finds the broker that a URL names."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

from .._event import Entry
from .._event import OwnChannel
from .._event import Page
from .._event import Proof
from ._urls import hide_password
from .base import Broker
from .base import Feed
from .base import NotPublished
from .base import NotRead
from .base import PublishUncertain
from .base import Retention
from .base import Sink
from .base import TellsTrouble
from .bridging import Bridge
from .bridging import BRIDGE_WIRES as BRIDGE_WIRES
from .bridging import Bridging
from .items import Conflict
from .items import ItemChange
from .items import ItemFeed
from .items import ItemRow
from .items import ItemsFull
from .items import ItemSink
from .items import ItemsPage
from .items import KeepsItems
from .items import TimedSink
from .own import DISCONNECT_LOG
from .own import KeepsOwnLogs
from .own import MAX_OWN_BYTES
from .own import MAX_OWN_ENTRIES
from .own import OWN_LOGS
from .own import OwnEntry
from .own import OwnPage
from .own import OwnSink
from .runs import KeepsRuns

__all__ = [
    "Bridge",
    "Bridging",
    "Broker",
    "Conflict",
    "DISCONNECT_LOG",
    "Entry",
    "Feed",
    "ItemChange",
    "ItemFeed",
    "ItemRow",
    "ItemsFull",
    "ItemSink",
    "ItemsPage",
    "KeepsItems",
    "KeepsOwnLogs",
    "KeepsRuns",
    "MAX_OWN_BYTES",
    "MAX_OWN_ENTRIES",
    "NotPublished",
    "NotRead",
    "open_broker",
    "OWN_LOGS",
    "OwnChannel",
    "OwnEntry",
    "OwnPage",
    "OwnSink",
    "Page",
    "Proof",
    "PublishUncertain",
    "Retention",
    "Sink",
    "TellsTrouble",
    "TimedSink",
]

_Make = cabc.Callable[[str, Path | None, Retention | None, float], Broker]


# Each is imported when it is first needed, because it may need a package that is not
# installed; and by a statement, which programs that freeze an app can see.
def _memory() -> _Make:
    from .memory import from_url

    return from_url


def _sqlite() -> _Make:
    from .sqlite import from_url

    return from_url


def _redis() -> _Make:
    from .redis import from_url

    return from_url


_OURS: dict[str, cabc.Callable[[], _Make]] = {
    **{"memory": _memory, "sqlite": _sqlite},
    **{"redis": _redis, "rediss": _redis, "unix": _redis},
    **{"redis+sentinel": _redis},
    **{"redis+cluster": _redis, "rediss+cluster": _redis},
}


def open_broker(
    url: str,
    directory: Path | None = None,
    retention: Retention | None = None,
    timeout: float = 2,
) -> Broker:
    """The broker at a URL. Nothing is opened before it is used.

    :param directory: Where a broker without a place of its own keeps its files.
    :param retention: Changes what the store keeps. Otherwise, its retention stays as it
        is.
    :param timeout: Seconds that publishing may take.
    :raises ValueError: If no broker knows the URL.
    """
    if not isinstance(url, str):
        raise TypeError(
            f"A store's URL is text such as 'redis://127.0.0.1:6379/0', not {url!r:.80}."
        )
    scheme, colon, _ = url.partition(":")
    if colon and scheme in _OURS:
        make = _OURS[scheme]()
    else:
        # Few need it, and it takes as long to import as the rest of this package.
        from importlib.metadata import entry_points

        found = entry_points(group="flask_push.brokers", name=scheme) if colon else ()
        if not found:
            known = ", ".join(f"'{name}:'" for name in _OURS)
            shown = hide_password(url)
            raise ValueError(
                f"No broker knows {shown!r}. A URL begins with one of {known}."
            )
        make = next(iter(found)).load()
    broker: Broker = make(url, directory, retention, timeout)
    return broker
