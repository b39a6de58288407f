"""The frames that slow readers have received in part, and how many bytes they take.

A reader whose socket is full keeps the frame that it is in, and how far it is. A thousand
readers that are in one frame keep one frame. But each may also be in a frame of its own, so
the bytes of all these frames need a bound.
"""

from __future__ import annotations

from .._delivery.channel import Chunk
from .._delivery.channel import frame_of
from .._delivery.subscription import Subscription


class PartialFrames:
    """Counts each frame once, however many readers are in it."""

    def __init__(self) -> None:
        #: The bytes of all these frames.
        self.size = 0
        #: True while one reader changes it. An exception then concerns all readers.
        self.torn = False
        # The frame of each reader. The first reader has been in its frame for longest.
        self._kept: dict[Subscription, Chunk] = {}
        # By identity of a frame, how many readers are in it.
        self._readers: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<PartialFrames [{len(self._kept)} readers, {len(self._readers)} frames]>"

    def note(self, sub: Subscription) -> None:
        """Note the frame that the reader is in now."""
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
        """Note that the reader is in no frame."""
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
        """The readers to end if all frames together have more bytes than the limit: so many
        that an eighth of it becomes free. One frame is always allowed.

        A reader costs the bytes of its frame, divided by the number of readers in it. Those
        that cost most, by powers of two, come first. Of those that cost the same, the first
        is the one that has been in its frame for longest.
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
