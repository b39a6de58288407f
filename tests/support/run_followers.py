"""Followers of one run, each in a thread, whose connections are cut at any byte."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import json
import random
import threading
import typing as t

from flask_push import Event
from flask_push._delivery.run_rows import STATUS
from support.reader import HttpReader
from support.run_judge import AGAIN
from support.run_judge import Truth

FINAL = "done", "stopped"


class Follower:
    """
    :param port: That of a server.
    :param channel: Of the run. It is also its key.
    :param seed: Of its cuts.
    """

    def __init__(self, port: int, channel: str, seed: int) -> None:
        self.port, self.channel = port, channel
        self.rng = random.Random(seed)
        self.figures = {"connections": 0, "cuts": 0, "events": 0, "refused": 0}
        self.is_done = False
        self.error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self.is_done and not self._stopped.wait(self.rng.uniform(0, 0.2)):
                self.follow()
        except BaseException as error:
            self.error = error
            raise

    def follow(self) -> None:
        """Follow over one connection."""
        raise NotImplementedError

    def judge(self, truth: Truth) -> list[str]:
        raise NotImplementedError

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(30)


class PushFollower(Follower):
    """As a page that begins again when it has received an end, because there may be another
    attempt.

    :param after: The id of an event, behind which it begins.
    """

    def __init__(self, *args: t.Any, after: str = "") -> None:
        self.last_id = after
        self.whole = not after
        self.events: list[Event] = []
        self._ended = False
        super().__init__(*args)

    def follow(self) -> None:
        if self._ended or self.rng.random() < 0.01:
            self.last_id, self._ended = "", False
            self.events.append(AGAIN)
        with contextlib.suppress(OSError):
            path = f"/follow/{self.channel}"
            reader = HttpReader(
                self.port, path=path, last_id=self.last_id, key=self.channel
            )
            with contextlib.closing(reader):
                reader.sock.settimeout(20)
                self._read(reader)

    def _read(self, reader: HttpReader) -> None:
        self.figures["connections"] += 1
        left = self.rng.choice([200, 2000, 20_000, 10**9])
        while left > 0 and not reader.ended and not self._stopped.is_set():
            before = len(reader.body)
            try:
                for event in reader.read(left):
                    self._take(event)
            finally:
                left -= len(reader.body) - before
                self.last_id = reader.last_id
        self.figures["cuts"] += left <= 0
        if reader.head and reader.status == 204:
            # Behind the end of an attempt.
            self._ended = True
        elif reader.head and reader.status >= 500:
            self.figures["refused"] += 1

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self.figures["events"] += 1
        if event.type == STATUS:
            status = json.loads(event.data)["status"]
            self._ended = status in ("done", "failed", "stopped", "lost")
            self.is_done = status in FINAL

    def judge(self, truth: Truth) -> list[str]:
        return truth.judge_push(self.events, self.whole)


class PlainFollower(Follower):
    """As a client of OpenAI's API, which begins again with the first event."""

    def __init__(self, *args: t.Any) -> None:
        #: Those that ended cleanly.
        self.bodies: list[bytes] = []
        super().__init__(*args)

    def follow(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        path = f"/follow/{self.channel}?wire=openai&key={self.channel}"
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            self.figures["connections"] += 1
            if response.status != 200:
                self.figures["refused"] += 1
                self._stopped.wait(0.2)
                return
            body = b"".join(self._chunks(response))
        except (OSError, http.client.HTTPException):
            self.figures["cuts"] += 1
            return
        finally:
            connection.close()
        self.bodies.append(body)
        self.figures["events"] += body.count(b"data: ")
        self.is_done = b'{"error"' not in body or b'"stopped"' in body

    def _chunks(self, response: http.client.HTTPResponse) -> cabc.Iterator[bytes]:
        left = self.rng.choice([2000, 10**9, 10**9])
        while data := response.read1(65536):
            yield data
            left -= len(data)
            if left <= 0 or self._stopped.is_set():
                raise http.client.IncompleteRead(data)

    def judge(self, truth: Truth) -> list[str]:
        return [line for body in self.bodies for line in truth.judge_plain(body)]
