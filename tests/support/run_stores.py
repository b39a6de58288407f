"""A store that does not always answer, and a publisher to it."""

from __future__ import annotations

import collections.abc as cabc

import pytest

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsPage
from flask_push.brokers.memory import MemoryBroker


class Unsure(MemoryBroker):
    """It fails as stores fail, and keeps what it has stored."""

    def __init__(self) -> None:
        super().__init__()
        #: What becomes of the next calls of ``change``: ``stored`` or ``lost``, without an
        #: answer; or ``refused``. Later ones succeed.
        self.answers: list[str] = []
        #: The same for calls of so many changes.
        self.fails: tuple[int, list[str]] = (0, [])
        #: How many calls of ``find`` fail next.
        self.unanswered = 0
        #: Called before each change.
        self.before: cabc.Callable[[], object] = bool
        #: What was stored, by call.
        self.calls: list[list[ItemChange]] = []

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        self.before()
        count, fails = self.fails
        answers = fails if len(changes) == count else self.answers
        answer = answers.pop(0) if answers else ""
        if answer == "refused":
            raise NotPublished("The store refuses.")
        if answer == "lost":
            raise PublishUncertain("No answer.")
        positions = super().change(changes)
        self.calls.append([each for each in changes if isinstance(each, ItemChange)])
        if answer == "stored":
            raise PublishUncertain("No answer.")
        return positions

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        if self.unanswered:
            self.unanswered -= 1
            raise NotRead("The store is away.")
        return super().find(channel, items, kind=kind)

    def lose(self, channel: str, item: str) -> None:
        """Lose a row of a run, as a Redis that fails over."""
        super().change([ItemChange(channel, item, None, kind="run")])


@pytest.fixture
def broker() -> Unsure:
    return Unsure()


@pytest.fixture
def unsure(broker: Unsure) -> cabc.Iterator[Publisher]:
    """A publisher to this store."""
    publisher = Publisher(broker)
    yield publisher
    publisher.close()
