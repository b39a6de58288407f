"""The sums of metrics are right over four hub processes and two workers, after a hub was
replaced and after one was killed. No sum ever falls."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t
from pathlib import Path

import pytest
from support.each_store import shared_url as shared_url
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push._delivery.figures import BY_NAME
from flask_push._delivery.figures import Figures
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from flask_push._ipc.stored_figures import read_figures
from flask_push.brokers import Broker
from flask_push.brokers import open_broker

HUBS = 4


class Sums:
    """Reads the sums of a store, and notices one that falls."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._before = Figures()

    def read(self) -> Figures:
        figures = read_figures(self._broker).figures
        counted = figures.counted
        assert not (self._before - counted), "a sum fell"
        self._before = counted
        return figures

    @property
    def names(self) -> set[str]:
        """Of the hubs that run."""
        self.read()
        return {hub.name for hub in read_figures(self._broker).hubs}

    def are(self, seconds: float = 30, **values: int) -> None:
        """Wait until they are so."""
        wanted = {key.replace("__", ":"): value for key, value in values.items()}
        until(lambda: self._have(wanted), seconds, f"{wanted} of {self._before}")

    def _have(self, wanted: dict[str, int]) -> bool:
        figures = self.read()
        return all(figures.get(key, 0) == value for key, value in wanted.items())


def open_on_all(server: Server, directory: Path) -> list[HttpReader]:
    """Streams on all hubs, at least one on each."""
    readers: list[HttpReader] = []
    while len(readers) < 8 or len(hubs(directory)) < HUBS:
        readers.append(server.open_stream("a"))
        assert len(readers) < 200
    return readers


def replace_one(directory: Path, number: int) -> None:
    before = hubs(directory)
    start_process(HubFiles.of(directory / "push-basic", number), "--replace", "--force")
    until(lambda: len(hubs(directory)) == HUBS and hubs(directory) != before)


@pytest.mark.timeout(240)
def test_sums_are_right_over_hubs_that_are_replaced_and_killed(
    tmp_path: Path, url: str
) -> None:
    config: dict[str, t.Any] = {"PUSH_METRICS": True, "PUSH_BROKER_URL": url}
    config["PUSH_HUB_PROCESSES"] = HUBS
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(contextlib.closing(open_broker(url)))
        sums = Sums(broker)
        server = stack.enter_context(serve(gunicorn, tmp_path, "-w", "2", **config))
        readers = open_on_all(server, tmp_path)
        count = len(readers)
        for reader in readers:
            stack.callback(reader.close)
        for number in range(10):
            server.publish("a", str(number))
        sums.are(
            **{"hubs": HUBS, "streams": count, "streams_opened__new": count},
            **{"sends": 10 * count, "published_events": 10, "events": 10 * HUBS},
        )
        published = sums.read().histogram(BY_NAME["publish_seconds"])[0][-1]
        assert published == 10
        assert 1 <= sums.read()["processes"] <= 2
        replace_one(tmp_path, 0)
        replace_one(tmp_path, 2)
        server.publish("a", "after")
        sums.are(
            **{"hubs": HUBS, "streams": count, "streams_opened__new": count},
            **{"sends": 11 * count, "published_events": 11, "events": 11 * HUBS},
        )
        assert not [key for key in sums.read() if key.startswith("streams_ended")]
        # One that has stored all: so its death loses nothing. The workers start another.
        names = sums.names
        os.kill(hubs(tmp_path)[0], signal.SIGKILL)
        until(lambda: names - sums.names, 60, "its row goes")
        sums.are(streams_opened__new=count, sends=11 * count, published_events=11)


def test_what_a_worker_counts_survives_it_and_its_hub(tmp_path: Path, url: str) -> None:
    config: dict[str, t.Any] = {"PUSH_METRICS": True, "PUSH_BROKER_URL": url}
    with contextlib.closing(open_broker(url)) as broker:
        sums = Sums(broker)
        with serve(gunicorn, tmp_path, "-w", "1", **config) as server:
            # No hub is there yet.
            for number in range(5):
                server.publish("a", str(number))
            with server.open_stream("a"):
                sums.are(published_events=5)
                server.publish("a", "x")
                (hub,) = hubs(tmp_path)
                sums.are(published_events=6)
                os.kill(hub, signal.SIGKILL)
                server.publish("a", "y")
            with server.open_stream("a"):
                sums.are(published_events=7)
            server.publish("a", "z")
            server.kill()
        with serve(gunicorn, tmp_path, "-w", "1", **config) as server:
            with server.open_stream("a"):
                sums.are(published_events=8)
            files = HubFiles.of(tmp_path / "push-basic").figures
            until(lambda: len(list(files.iterdir())) <= 1)
