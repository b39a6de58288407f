"""The channels of a feed: those it watches, and those that are about to change."""

from __future__ import annotations

import collections.abc as cabc


class Channels:
    """A channel is watched from the answer on to the first question that is asked after
    its subscription."""

    def __init__(self, watched: cabc.Iterable[str]) -> None:
        self.watched = set(watched)
        #: Channels to watch, each with the question after whose answer they are watched.
        self._wanted: dict[str, int] = {}
        #: Channels to unsubscribe from on the loop's next pass.
        self._unwanted: set[str] = set()

    def __iter__(self) -> cabc.Iterator[str]:
        """Those that a new connection has to subscribe to."""
        return iter({*self.watched, *self._wanted})

    def watch(self, channels: cabc.Iterable[str], question: int) -> None:
        self._wanted.update(dict.fromkeys(channels, question))

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        for name in channels:
            self._wanted.pop(name, None)
        self.watched.difference_update(channels)
        self._unwanted.update(channels)

    def take_unwanted(self) -> set[str]:
        """Those to unsubscribe from, once."""
        unwanted, self._unwanted = self._unwanted, set()
        return unwanted - self.watched - self._wanted.keys()

    def wait_for(self, question: int) -> list[str]:
        """Those that wait for this question to be asked."""
        return [name for name, asked in self._wanted.items() if asked == question]

    def waiting(self, question: int) -> list[str]:
        """Those that the answer to this question will confirm."""
        return [name for name, asked in self._wanted.items() if asked <= question]

    def is_confirmed(self, name: str, question: int) -> bool:
        """Whether it is watched when this question has its answer."""
        return name in self.watched or self._wanted.get(name, question + 1) <= question

    def take_answered(self, question: int) -> list[str]:
        """Watch those whose question has its answer, and return them."""
        found = sorted(self.waiting(question))
        for name in found:
            del self._wanted[name]
        self.watched.update(found)
        return found
