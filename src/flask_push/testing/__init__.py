"""For tests: of apps that push, and of brokers."""

from ._contract import BrokerContract
from ._reader import read_events

__all__ = ["BrokerContract", "read_events"]
