"""The frames of which slow readers have had a part, and how many bytes they are together.

A reader whose socket is full keeps the frame that it is in, and how far. A thousand readers
behind one frame keep one frame. But each may also be in a frame of its own, so what they
keep together needs a bound.
"""

from __future__ import annotations

from .._delivery.channel import Chunk
from .._delivery.channel import frame_of
from .._delivery.subscription import Subscription


class Rests:
    """Counts each frame once, however many readers keep it."""

    def __init__(self) -> None:
        #: Bytes of all frames that are kept.
        self.size = 0
        #: Whether it is being changed for one reader: an exception then is not its alone.
        self.torn = False
        # What each reader keeps. The first has been in the same frame for longest.
        self._kept: dict[Subscription, Chunk] = {}
        # By identity of a frame, how many readers keep it.
        self._readers: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Rests [{len(self._kept)} readers, {len(self._readers)} frames]>"

    def note(self, sub: Subscription) -> None:
        """Note what the reader keeps now."""
        rest = sub.rest
        frame = frame_of(rest) if isinstance(rest, memoryview) else rest
        if self._kept.get(sub) is frame:
            return
        self.forget(sub)
        if frame:
            self.torn = True
            readers = self._readers.get(id(frame), 0)
            self._kept[sub] = frame
            self._readers[id(frame)] = readers + 1
            if not readers:
                self.size += len(frame)
            self.torn = False

    def forget(self, sub: Subscription) -> None:
        """Note that the reader keeps nothing."""
        self.torn = True
        frame = self._kept.pop(sub, None)
        if frame is not None:
            readers = self._readers.pop(id(frame)) - 1
            if readers:
                self._readers[id(frame)] = readers
            else:
                self.size -= len(frame)
        self.torn = False

    def stuck(self, limit: int) -> list[Subscription]:
        """The readers that have to end, if all frames together have more bytes than the
        limit: then an eighth is made free. One frame is always allowed.

        Those that cost most, by powers of two, come first: of a frame, each of its readers
        costs a part. Of those that cost the same, the one that has been in a frame longest.
        """
        found: list[Subscription] = []
        if self.size <= limit or len(self._readers) < 2:
            return found
        left, readers = self.size, self._readers.copy()
        for sub, frame in sorted(self._kept.items(), key=self._cost):
            if left <= limit - limit // 8 or len(readers) < 2:
                break
            found.append(sub)
            readers[id(frame)] -= 1
            if not readers[id(frame)]:
                del readers[id(frame)]
                left -= len(frame)
        return found

    def _cost(self, kept: tuple[Subscription, Chunk]) -> int:
        _, frame = kept
        return -(len(frame) // self._readers[id(frame)]).bit_length()
