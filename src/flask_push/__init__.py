"""Server push for Flask."""

import typing as _t

from ._event import Event
from ._event import Position
from ._publisher import History
from ._publisher import Publisher
from .brokers import NotPublished
from .brokers import NotRead
from .brokers import PublishUncertain

if _t.TYPE_CHECKING:
    from ._extension import Push

__all__ = [
    "Event",
    "History",
    "NotPublished",
    "NotRead",
    "Position",
    "Publisher",
    "PublishUncertain",
    "Push",
]


def __getattr__(name: str) -> _t.Any:
    # Only an app needs Flask: neither a hub does, nor a script that publishes.
    if name != "Push":
        raise AttributeError(name)
    from ._extension import Push

    return Push
