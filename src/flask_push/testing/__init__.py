"""For tests: of apps that push, and of brokers."""

from ._captured import captured
from ._contract import BrokerContract
from ._failing import failing
from ._gap import make_gap
from ._items_contract import ItemsContract
from ._lose import lose
from ._own_contract import OwnLogContract
from ._reader import read_events
from ._reader import read_to_end
from ._runs_contract import RunsContract
from ._silence import assert_silent

__all__ = [
    "assert_silent",
    "BrokerContract",
    "captured",
    "failing",
    "ItemsContract",
    "lose",
    "make_gap",
    "OwnLogContract",
    "read_events",
    "read_to_end",
    "RunsContract",
]
