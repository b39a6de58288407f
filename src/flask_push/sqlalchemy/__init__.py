"""Events that are sent if a transaction of SQLAlchemy commits, and only then."""

from . import _installed as _installed
from ._outbox import Outbox

__all__ = ["Outbox"]
