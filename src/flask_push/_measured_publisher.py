"""An app's publisher that counts what it stores, and how long that takes."""

from __future__ import annotations

import time
from pathlib import Path

from ._app_publisher import AppPublisher
from ._config import Config
from ._event import Event
from ._event_checks import Dumps
from ._ipc.files import HubFiles
from ._ipc.process_figures import ProcessFigures
from .brokers import Broker
from .brokers import ItemChange
from .brokers import NotPublished
from .brokers import PublishUncertain


class MeasuredPublisher(AppPublisher):
    def __init__(
        self, broker: Broker, config: Config, dumps: Dumps, counts: ProcessFigures
    ) -> None:
        super().__init__(broker, config, dumps)
        self._counts = counts
        self._count_run = counts.run_ended

    def _store(self, changes: list[Event | ItemChange]) -> str:
        start = time.perf_counter_ns()
        try:
            id = super()._store(changes)
        except NotPublished:
            self._counts.count("publish_failures:not_published")
            raise
        except PublishUncertain:
            self._counts.count("publish_failures:uncertain")
            raise
        if changes:
            micros = (time.perf_counter_ns() - start) // 1000
            self._counts.published(len(changes), micros)
        return id


def counts_of(config: Config, kind: str, directory: Path | None) -> ProcessFigures | None:
    """What this process counts, if the app wants metrics. It has a file, unless the hub is
    in a thread of this process.

    :param kind: As :func:`.choose` returns it.
    :param directory: The run directory.
    """
    if not config.metrics:
        return None
    if kind == "thread":
        return ProcessFigures(None)
    if kind == "process" and directory is not None:
        return ProcessFigures(HubFiles.of(directory).figures)
    return ProcessFigures(HubFiles(Path(kind)).figures)


def publisher_of(
    broker: Broker, config: Config, dumps: Dumps, counts: ProcessFigures | None
) -> AppPublisher:
    """The publisher of an app. One that counts nothing costs nothing."""
    if counts is None:
        return AppPublisher(broker, config, dumps)
    return MeasuredPublisher(broker, config, dumps, counts)
