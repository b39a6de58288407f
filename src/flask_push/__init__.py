"""Server push for Flask."""

import typing as _t
from importlib import import_module as _import_module

from ._event import Event
from ._event import Position
from ._item_publisher import Items
from ._later import Held
from ._later import Later
from ._presence import Member
from ._presence import Presence
from ._publisher import History
from ._publisher import Publisher
from ._runs import Run
from ._runs import RunBusy
from ._runs import RunFailed
from ._runs import RunOver
from .brokers import ItemsFull
from .brokers import NotPublished
from .brokers import NotRead
from .brokers import PublishUncertain

if _t.TYPE_CHECKING:
    from ._extension import Push
    from ._handoff.listener import Listener
    from .client import connect

__all__ = ["connect", "Event", "Held", "History", "Items", "ItemsFull", "Later", "Listener"]
__all__ += ["Member", "NotPublished", "NotRead", "Position", "Presence", "Publisher"]
__all__ += ["PublishUncertain", "Push", "Run", "RunBusy", "RunFailed", "RunOver"]

# Only an app needs Flask, and only a listener needs HTTP. A hub needs neither.
_LATER = {"Push": "._extension", "connect": ".client", "Listener": "._handoff.listener"}


def __getattr__(name: str) -> _t.Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(_import_module(_LATER[name], __name__), name)
