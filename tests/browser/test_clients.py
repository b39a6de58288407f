"""Client libraries that people use read our streams: they lose no event, deliver no other,
and resume."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import serve
from support.servers import TESTS
from support.servers import until

from flask_push import Event
from flask_push import Publisher

# The libraries that run in Node, in the versions of clients/package.json. Some others can't
# run there: htmx, Turbo and Datastar are parts of a page, and OkHttp of a Java program.
NPM = [
    "eventsource",
    "event-source-polyfill",
    "reconnecting-eventsource",
    "eventsource-client",
    "@microsoft/fetch-event-source",
    "sse.js",
]
# The interpreter of the tests' environment. `make test` installs what it runs.
NODE = str(Path(sys.executable).with_name("node"))
# Its module has the same name as that of sseclient-py, so it is installed separately.
SSECLIENT = "sseclient==0.0.27"
PYTHON = [
    "curl",
    "httpx-sse",
    "httpx2",
    "sseclient-py",
    "sseclient",
    "requests-sse",
    "aiohttp-sse-client",
]
CLIENTS = NPM + PYTHON

# Peculiarities of the libraries.

#: The type that a library gives to an event without a type.
DEFAULT_TYPE: dict[str, str | None] = {
    "@microsoft/fetch-event-source": "",
    "eventsource-client": None,
    "aiohttp-sse-client": None,
}
#: Data that a library delivers in another form.
DIFFERS = {
    "@microsoft/fetch-event-source": {"\nx": "x"},
    "sseclient": {"\nx": "x", "a\u2028b\u0085c \U0001f600": "a"},
    "requests-sse": {" x\n": "x"},
    "aiohttp-sse-client": {" x\n": "x"},
}
#: Where a body ends with its connection, Requests waits until a piece of 128 or 512 bytes
#: is full. So an event may arrive only with the next ones.
LATE = {"sseclient-py", "requests-sse"}
#: They leave reconnecting to their user: always, or after a connection is refused.
END = {"curl", "httpx-sse", "httpx2", "sseclient-py"}
GIVE_UP = {"sseclient", "aiohttp-sse-client"}
#: It accepts gzip, as Requests does, but reads the compressed bytes.
NO_GZIP = {"sseclient"}

EVENTS = [
    ("message", '{"text":"hi"}'),
    ("message", "a\nb\n\nc"),
    ("message", ""),
    ("message", " x\n"),
    ("message", "\nx"),
    ("said", "by name"),
    ("message", "a\u2028b\u0085c \U0001f600"),
]

# Fills the pieces for which some libraries wait.
PADDING = "x" * 1024

# A type, data and an id.
Given = tuple[str | None, str, str]


class Client:
    """A program that prints what its library delivers."""

    def __init__(self, name: str, url: str, directory: Path, sseclient: Path) -> None:
        self.name = name
        self.starts = 0
        self._url = url
        self._last_id = ""
        self._events: list[Given] = []
        self._own: list[str] = []
        self._output = directory / (name.replace("/", "-") + ".out")
        self._output.touch()
        self._read_up_to = 0
        self._log = self._output.with_suffix(".log")
        program = [NODE, "read.mjs"] if name in NPM else [sys.executable, "read.py"]
        self._command = [*program, name]
        self._env = dict(os.environ)
        if name == "sseclient":
            self._env["PYTHONPATH"] = str(sseclient)
        self.start()

    def start(self) -> None:
        self._read()
        self.starts += 1
        url = f"{self._url}&last_event_id={self._last_id}"
        with self._output.open("ab") as output, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, url],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=TESTS / "clients",
                env=self._env,
                start_new_session=True,
            )

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def events(self) -> list[Given]:
        """The events that it delivered, published or not."""
        self._read()
        return self._events

    @property
    def own(self) -> list[str]:
        """The types of the stream's own events."""
        self._read()
        return self._own

    @property
    def opened(self) -> int:
        return self.own.count("push:open")

    def _read(self) -> None:
        with self._output.open("rb") as output:
            output.seek(self._read_up_to)
            complete, newline, _ = output.read().rpartition(b"\n")
        self._read_up_to += len(complete + newline)
        for line in complete.splitlines():
            type, data, self._last_id = json.loads(line)
            if type is not None and type.startswith("push:"):
                self._own.append(type)
            else:
                self._events.append((type, data, self._last_id))

    def gives(self, event: Given) -> Given:
        """The form in which it delivers a published event."""
        type, data, id = event
        if type == "message":
            type = DEFAULT_TYPE.get(self.name, type)
        return type, DIFFERS.get(self.name, {}).get(data, data), id


class Story(t.NamedTuple):
    """What was published, and which clients have delivered it."""

    published: list[Given]
    clients: dict[str, Client]
    #: The clients that delivered an event only with later ones.
    late: frozenset[str] = frozenset()


@contextlib.contextmanager
def all_clients(
    url: str, directory: Path, sseclient: Path, but: cabc.Container[str] = ()
) -> cabc.Iterator[dict[str, Client]]:
    clients = {}
    try:
        for name in [name for name in CLIENTS if name not in but]:
            clients[name] = Client(name, url, directory, sseclient)
        yield clients
    finally:
        for client in clients.values():
            client.stop()


def wait_for(
    clients: cabc.Iterable[Client],
    condition: cabc.Callable[[Client], t.Any],
    meanwhile: cabc.Callable[[], t.Any] = lambda: None,
) -> list[Client]:
    """Wait until it is true of all clients, and return those of which it is true. The tests
    of the others will fail."""
    clients = list(clients)

    def is_true() -> bool:
        meanwhile()
        return all(map(condition, clients))

    with contextlib.suppress(AssertionError):
        until(is_true)
    return [client for client in clients if condition(client)]


@pytest.fixture(scope="module")
def sseclient(request: pytest.FixtureRequest) -> Path:
    """The directory in which it is installed separately."""
    assert request.config.cache is not None
    path = request.config.cache.mkdir("clients") / SSECLIENT
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    if not path.exists():
        subprocess.run([*pip, "--target", path, SSECLIENT, "six"], check=True)
    return path


def has(count: int) -> cabc.Callable[[Client], bool]:
    return lambda client: len(client.events) >= count


def receive(reader: HttpReader, count: int) -> None:
    """Read until this many more heartbeats have arrived."""

    def received() -> int:
        return bytes(reader.body).split(b"\n").count(b":")

    end = received() + count
    reader.read_until(lambda _: received() >= end)


def read(directory: Path, sseclient: Path, but: cabc.Container[str], gzip: bool) -> Story:
    """Publish each event alone, with heartbeats after it; then all of them at once."""
    with contextlib.ExitStack() as stack:
        serving = serve(gunicorn, directory, PUSH_HEARTBEAT=0.2, PUSH_GZIP=gzip)
        server = stack.enter_context(serving)
        url = f"{server.url}/stream?channel=news&last=99"
        clients = stack.enter_context(all_clients(url, directory, sseclient, but))
        prompt = [client for client in clients.values() if client.name not in LATE]
        prompt = wait_for(prompt, lambda client: client.opened)
        # Its third heartbeat arrives after the second one of all others.
        witness = stack.enter_context(server.stream("news").opened())
        late: set[str] = set()
        for count, (type, data) in enumerate(EVENTS, 1):
            server.publish("news", data, type=type)
            witness.read_data(count)
            receive(witness, 3)
            prompt = wait_for(prompt, has(count))
            late.update(name for name in clients if len(clients[name].events) < count)
        publisher = Publisher(f"sqlite://{directory}/push-basic/push.db")
        publisher.publish_many(Event("news", data, type) for type, data in EVENTS)
        publisher.publish("news", PADDING)
        published = publisher.history("news", 99).events
        publisher.close()
        wait_for(prompt, has(len(published)))
        wait_for(clients.values(), has(len(published) - 1))
    return Story([(e.type, e.data, e.id) for e in published], clients, frozenset(late))


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory, sseclient: Path) -> Story:
    return read(tmp_path_factory.mktemp("reading"), sseclient, (), gzip=False)


@pytest.fixture(scope="module")
def unzipping(tmp_path_factory: pytest.TempPathFactory, sseclient: Path) -> Story:
    return read(tmp_path_factory.mktemp("unzipping"), sseclient, NO_GZIP, gzip=True)


@pytest.fixture(scope="module")
def resuming(tmp_path_factory: pytest.TempPathFactory, sseclient: Path) -> Story:
    """Streams end, the server stops and starts again, and streams end again. Meanwhile,
    another process publishes."""
    directory = tmp_path_factory.mktemp("resuming")
    published: list[Given] = []

    def publish() -> None:
        number = str(len(published))
        published.append(("message", number, publisher.publish("news", number)))

    def come_back() -> None:
        for client in clients.values():
            if client.name in END | GIVE_UP and client.ended:
                client.start()

    def publish_and_come_back() -> None:
        publish()
        come_back()

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            serve(gunicorn, directory, PUSH_HEARTBEAT=0.2, PUSH_RETRY=0.5)
        )
        url = f"{server.url}/stream?channel=news&lifetime=0.5"
        clients = stack.enter_context(all_clients(url, directory, sseclient))
        publisher = Publisher(f"sqlite://{directory}/push-basic/push.db")
        stack.callback(publisher.close)
        well = wait_for(clients.values(), lambda client: client.opened, come_back)
        well = wait_for(well, lambda client: client.opened >= 3, publish_and_come_back)

        server.stop()
        leaving = [client for client in well if client.name in END | GIVE_UP]
        wait_for(leaving, lambda client: client.ended)
        for _ in range(10):
            publish()
        server.start()

        before = {client.name: client.opened for client in well}
        wait_for(
            well,
            lambda client: client.opened >= before[client.name] + 2,
            publish_and_come_back,
        )
        wait_for(well, has(len(published)), come_back)
    return Story(published, clients)


def gives_every_event(name: str, story: Story) -> None:
    client = story.clients[name]
    assert [(type, data) for type, data, _ in story.published] == [
        *EVENTS,
        *EVENTS,
        ("message", PADDING),
    ]
    expected = [client.gives(event) for event in story.published]
    if name in LATE and len(client.events) < len(expected):
        expected.pop()
    assert client.events == expected, client.log
    assert client.own == ["push:open"]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_delivers_every_event_and_nothing_else(name: str, reading: Story) -> None:
    gives_every_event(name, reading)


@pytest.mark.parametrize("name", [name for name in CLIENTS if name not in NO_GZIP])
def test_a_client_delivers_every_event_of_a_compressed_stream(
    name: str, unzipping: Story
) -> None:
    gives_every_event(name, unzipping)


def test_an_event_arrives_at_once_unless_the_client_waits_for_more(
    reading: Story, unzipping: Story
) -> None:
    assert reading.late == LATE
    assert unzipping.late == LATE - NO_GZIP


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_resumes_where_it_stopped(name: str, resuming: Story) -> None:
    client = resuming.clients[name]
    expected = [client.gives(event) for event in resuming.published]
    assert client.events == expected, client.log
    assert set(client.own) == {"push:open"}
    if name in END:
        assert client.starts >= client.opened > 1
    else:
        assert client.starts == 1 + (name in GIVE_UP)
