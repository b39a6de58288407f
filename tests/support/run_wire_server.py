"""A small server of one run, with the bytes of ``_delivery.run_wires``: the test says what
happens, to each connection and at each byte."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.server
import json
import threading
import typing as t
from urllib.parse import parse_qs
from urllib.parse import urlsplit

from flask_push._delivery import run_record
from flask_push._delivery import run_wires
from flask_push._delivery import wire
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Status
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import PROGRESS
from flask_push._delivery.run_rows import STATUS
from flask_push._event import Position
from flask_push._scripts import script
from flask_push._scripts import SCRIPTS

EPOCH = "kQ3fZ"
PUSH = run_wires.WIRES["push"]


class RunWireServer:
    def __init__(self) -> None:
        self.number = 1_000_000
        self.record: Record | None = None
        self.first = 0
        #: The number of each row of the newest attempt, and its bytes.
        self.rows: list[tuple[int, bytes]] = []
        #: What the view answers instead: a status and headers.
        self.refusal: tuple[int, dict[str, str]] | None = None
        #: How many bytes of rows a connection gets before it is cut.
        self.most = 2**30
        self.requests: list[dict[str, str]] = []
        self.changed = threading.Condition()
        self._cuts = 0
        self._ended = False
        handler = type("Handler", (Handler,), {"runs": self})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        with self.changed:
            self._ended = True
            self.changed.notify_all()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def begin(self, key: str = "k1") -> None:
        self.turn(run_record.make("a", self.record, "r1", key, 600))
        self.enter()

    def enter(self) -> None:
        """Begin the run, or its next attempt."""
        assert self.record is not None
        self.turn(run_record.enter("a", self.record, self.record.serial, "p"))

    def end(self, status: Status, text: str = "") -> None:
        assert self.record is not None
        self.turn(run_record.end("a", self.record, status, text))

    def turn(self, transition: t.Any) -> None:
        assert isinstance(transition, Transition)
        data = transition.changes[1].data
        assert data is not None
        with self.changed:
            before, self.number = self.record, self.number + 1000
            position = Position(EPOCH, self.number)
            self.record = transition.record._replace(position=position)
            if before is None or before.tag != self.record.tag:
                self.first, self.rows = self.number, []
        self._store(lambda row: run_wires.status_frame(row), STATUS, [data])

    def write(self, *texts: str) -> None:
        """Events that are stored together."""
        self._store(PUSH.row, "message", texts)

    def say(self, type: str, text: str) -> None:
        self._store(PUSH.row, type, [text])

    def progress(self, done: int, total: int | None, text: str) -> None:
        data = json.dumps({"done": done, "total": total, "text": text})
        self._store(lambda row: run_wires.progress_frame(row.events), PROGRESS, [data])

    def _store(
        self,
        encode: cabc.Callable[[run_wires.Row], bytes],
        type: str,
        texts: cabc.Sequence[str],
    ) -> None:
        with self.changed:
            self.number += 1000
            events = [text.encode() for text in texts]
            row = run_wires.Row(EPOCH, self.number, "a", type, events)
            self.rows.append((self.number, encode(row)))
            self.changed.notify_all()

    def cut(self) -> None:
        """End each connection."""
        with self.changed:
            self._cuts += 1
            self.changed.notify_all()

    @contextlib.contextmanager
    def refusing(self, status: int, **headers: str) -> cabc.Iterator[None]:
        self.refusal = status, headers
        try:
            yield
        finally:
            self.refusal = None

    def place(self, id: str) -> tuple[int, int] | None:
        """After which number a follow begins, and how many events of the next row it has.
        ``None`` if there is nothing to follow."""
        position, (_, _, *skip) = Position.parse(id), [*id.split("."), "", ""]
        count = int(skip[0]) if skip and skip[0] else 0
        if self.record is None:
            return None
        if position.epoch == EPOCH and position.number >= self.first:
            at_end = not self.record.is_active and position.number >= self.number
            return None if at_end else (position.number, count)
        return (self.first, 0) if self.record.is_active else None

    def follow(self, place: tuple[int, int], write: cabc.Callable[[bytes], t.Any]) -> None:
        (after, skip), cuts, most = place, self._cuts, self.most
        write(wire.first_bytes(500, visible=True))
        write(wire.opening("c.secret", ["a"], Position(EPOCH, after)))
        first = self.first

        def is_cut() -> bool:
            return self._ended or cuts != self._cuts or self.first != first

        def is_due() -> bool:
            return is_cut() or bool(self.rows) and self.rows[-1][0] > after

        while True:
            with self.changed:
                self.changed.wait_for(is_due)
                if is_cut():
                    return
                rows = [row for row in self.rows if row[0] > after]
                over = self.record is not None and not self.record.is_active
            for number, frames in rows:
                if number == after + 1:
                    frames = run_wires.skip(frames, skip)
                write(frames[:most])
                most -= len(frames)
                if most < 0:
                    return
            after = rows[-1][0]
            if over:
                return


class Handler(http.server.BaseHTTPRequestHandler):
    runs: RunWireServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        name = address.path.removeprefix("/push/")
        if name in SCRIPTS:
            text, type = script(name)
            self.answer(200, text.encode(), **{"Content-Type": type})
        elif address.path.endswith("/follow"):
            with contextlib.suppress(OSError):
                self.follow(
                    {name: each[0] for name, each in parse_qs(address.query).items()}
                )
        else:
            self.answer(200, b"pong", **{"Content-Type": "text/html"})

    do_POST = do_GET

    def follow(self, query: dict[str, str]) -> None:
        runs = self.runs
        headers = {name.lower(): value for name, value in self.headers.items()}
        place = runs.place(headers.get("last-event-id") or query.get("last_event_id", ""))
        # From here on, the test may end the run.
        runs.requests.append({**query, **headers, "method": self.command})
        if runs.refusal is not None:
            status, more = runs.refusal
            self.answer(status, b"no", **more)
        elif place is None:
            self.answer(204)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Connection", "close")
            self.end_headers()
            runs.follow(place, self.wfile.write)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Nothing, because the output is that of the tests."""
