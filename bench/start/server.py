"""What a server is, and how one is started."""

from __future__ import annotations

import collections.abc as cabc
import shutil
import tempfile
import typing as t
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from loader import Answer
from loader import Loader
from processes import free_port
from processes import Processes

#: Bytes of an event's data.
SIZE = 150
HOST = "HTTP/1.1\r\nHost: localhost\r\n"
_BODY = f"Content-Length: {SIZE}\r\n\r\n%D"


@dataclass(frozen=True)
class Server:
    """A server that can be measured: how it is started, read and published to."""

    name: str
    start: cabc.Callable[[Running], None]
    stream: str = "/stream?channel=%C"
    publish: str = f"POST /publish?channel=%C {HOST}{_BODY}"
    #: Its answer to a request to publish: "http", "line", or "-" for none.
    reply: str = "http"
    #: Connections that publish, where order is kept on each channel only.
    publishers: int = 8
    #: Events in each request to publish.
    batch: int = 1
    #: Readers that may connect at the same time.
    at_once: int = 500
    #: Readers that it can hold on one processor, within a minute.
    most_readers: int = 20_000
    #: Whether a stream may have several channels.
    several_channels: bool = False
    #: Whether it sends nothing before the first event, not even a response head.
    sends_head_late: bool = False
    #: Whether it is measured only if it is named.
    hidden: bool = False
    #: The program or file that it needs, and the Debian package that has it.
    program: str = ""
    package: str = ""


@dataclass
class Running:
    """A server that runs."""

    server: Server
    processes: Processes
    directory: Path
    readers: int
    channels: int = 1
    channels_per_reader: int = 1
    #: The configuration of our app.
    config: dict[str, t.Any] = field(default_factory=dict)
    #: The source of another version of Flask-Push, if not this one.
    source: str = ""
    #: More arguments of gunicorn, for our app.
    workers: tuple[str, ...] = ("--worker-class", "gthread", "--threads", "4")
    #: Whether events are published through another server of the same app.
    separate_publisher: bool = False
    port: int = 0
    publish_port: int = 0

    def loader(self, path: str = "", readers: int | None = None) -> Loader:
        """A loader for the streams of this server, or for plain requests to a path."""
        close = "Connection: close\r\n" if path else "Accept: text/event-stream\r\n%I"
        request = f"GET {path or self.server.stream} {HOST}{close}\r\n"
        publishers = 1 if self.channels == 1 else self.server.publishers
        return Loader(
            *(self.port, request, "&channel=", self.publish_port, self.server.publish),
            *(self.server.reply[0], self.readers if readers is None else readers),
            *(self.channels, self.channels_per_reader, SIZE, publishers),
            self.server.batch,
        )

    def connect(self, loader: Loader, readers: int, seconds: float = 60) -> Answer:
        """Connect readers, at most as many at a time as fit into the server's queue."""
        seconds = 3 if self.server.sends_head_late else seconds
        return loader.run("connect", readers, self.server.at_once, seconds)

    def end(self) -> None:
        self.processes.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def start(server: Server, readers: int, **more: t.Any) -> Running:
    directory = Path(tempfile.mkdtemp(prefix="flask-push-bench-"))
    processes = Processes(directory / "log")
    running = Running(server, processes, directory, readers, **more)
    running.port, running.publish_port = free_port(), free_port()
    try:
        server.start(running)
    except BaseException:
        running.end()
        raise
    return running
