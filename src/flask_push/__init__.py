"""Server push for Flask."""

from ._event import Event
from ._event import Position
from ._extension import Push
from ._publisher import History
from ._publisher import Publisher
from .brokers import NotPublished
from .brokers import PublishUncertain

__all__ = [
    "Event",
    "History",
    "NotPublished",
    "Position",
    "Publisher",
    "PublishUncertain",
    "Push",
]
