"""Many readers of one stream, and a publisher that never pauses."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import select
import threading
import time
import typing as t
from itertools import zip_longest

from flask_push import NotPublished
from flask_push import Publisher
from support.reader import HttpReader
from support.servers import Server
from support.servers import until


class Crowd:
    """Readers of a channel, read by a thread as fast as it can.

    :param returns: Whether a reader whose stream ends reconnects, with its last id.
    """

    def __init__(self, server: Server, channel: str, count: int, returns: bool = False):
        self.server = server
        self.channel = channel
        self.returns = returns
        self.ended = 0
        self.readers: dict[int, HttpReader] = {}
        self.data: list[list[str]] = [[] for _ in range(count)]
        self.gaps: list[t.Any] = []
        self._stop = threading.Event()
        self._poll = select.epoll()
        self._who: dict[int, int] = {}
        for n in range(count):
            self._connect(n)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: self.opened == count, 120, "all streams are open")

    def _connect(self, n: int, last_id: str = "") -> None:
        reader = HttpReader(self.server.port, self.channel, last_id=last_id)
        self.readers[n] = reader
        self._who[reader.fileno()] = n
        self._poll.register(reader, select.EPOLLIN)

    @property
    def opened(self) -> int:
        return sum(bool(reader.last_id) for reader in self.readers.values())

    @property
    def here(self) -> int:
        """How many readers have a stream, and have not only requested one."""
        readers = list(self.readers.values())
        return sum(b"push:open" in r.body[:2000] and not r.ended for r in readers)

    def _read(self) -> None:
        away: dict[int, str] = {}
        while not self._stop.is_set():
            for fd, _ in self._poll.poll(0.05):
                n = self._who[fd]
                reader = self.readers[n]
                for event in reader.read():
                    if event.type == "push:gap":
                        self.gaps.append(event)
                    elif not event.type.startswith("push:"):
                        self.data[n].append(event.data)
                reader.events.clear()
                if reader.ended:
                    self.ended += 1
                    self._poll.unregister(fd)
                    away[n] = reader.last_id
                    reader.close()
            for n, last_id in list(away.items()) if self.returns else ():
                with contextlib.suppress(OSError):
                    self._connect(n, last_id)
                    del away[n]

    def all_have(self, data: str) -> None:
        """Wait until this is the last event of all readers."""
        until(
            lambda: all(heard and heard[-1] == data for heard in self.data),
            120,
            f"all have {data}",
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for reader in self.readers.values():
            reader.close()
        self._poll.close()


class Speaker:
    """Publishes numbers, one after another, until it is stopped."""

    def __init__(self, url: str, channel: str, pause: float) -> None:
        self.said: list[str] = []
        self._publisher = Publisher(url)
        self._channel = channel
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def _speak(self) -> None:
        while not self._stop.is_set():
            text = str(len(self.said))
            with contextlib.suppress(NotPublished):
                self._publisher.publish(self._channel, text)
                self.said.append(text)
            time.sleep(self._pause)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._publisher.close()


def difference(heard: list[str], said: list[str]) -> str:
    """The first place at which the two differ."""
    place = next(n for n, pair in enumerate(zip_longest(heard, said)) if len(set(pair)) > 1)
    return f"heard {heard[place - 2 : place + 5]}, said {said[place - 2 : place + 5]}"


@contextlib.contextmanager
def talk(
    server: Server, url: str, count: int, returns: bool = False
) -> cabc.Iterator[Crowd]:
    """Publish all the time. In the end, all readers must have received all of it."""
    crowd = Crowd(server, "a", count, returns)
    try:
        # No faster than this process can read all of them.
        speaker = Speaker(url, "a", max(0.005, count / 40_000))
        try:
            until(lambda: len(speaker.said) > 5)
            yield crowd
            said = len(speaker.said)
            until(lambda: len(speaker.said) > said + 5)
        finally:
            speaker.stop()
        crowd.all_have(speaker.said[-1])
        assert crowd.gaps == []
        for heard in crowd.data:
            assert heard == speaker.said, difference(heard, speaker.said)
    finally:
        crowd.close()
