"""Server push for Flask."""

import typing as _t

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
__all__ += ["PublishUncertain", "Push", "Run", "RunBusy", "RunOver"]


def __getattr__(name: str) -> _t.Any:
    # Only an app needs Flask, and only who listens needs HTTP. A hub needs neither.
    if name == "Push":
        from ._extension import Push as found
    elif name == "connect":
        from .client import connect as found  # type: ignore[assignment]
    elif name == "Listener":
        from ._handoff.listener import Listener as found  # type: ignore[assignment]
    else:
        raise AttributeError(name)
    return found
