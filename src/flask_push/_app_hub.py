"""What the hub of an app is: a process of its own, a thread of each process, or a hub that
is run by hand.

A process needs what only Linux has. Elsewhere the hub is a thread, without being asked for:
this is the development mode. One line of the log says so when the hub starts.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from flask import Flask

from ._app_directory import Place
from ._config import Config
from ._ipc.files import HubFiles
from ._system.abilities import why_no_hub_process
from ._system.abilities import why_no_unix_sockets
from ._system.descriptors import limit
from ._system.descriptors import reserve

logger = logging.getLogger("flask_push")


def choose(app: Flask, config: Config) -> tuple[str, str]:
    """The store's URL, and what the hub is: ``process``, ``thread``, or the path of its
    socket."""
    url = config.broker_url or ("memory:" if app.testing else "sqlite:")
    if url == "memory:":
        # Another process can't read this process's memory.
        return url, "thread"
    # A frozen app has no interpreter that could run the hub process.
    alone = app.testing or getattr(sys, "frozen", False) or why_no_hub_process()
    return url, config.hub or ("thread" if alone else "process")


def check(config: Config) -> None:
    """
    :raises RuntimeError: If the configuration needs something that this system lacks.
    """
    if config.hub not in (None, "thread") and (reason := why_no_hub_process()):
        raise RuntimeError(
            f"PUSH_HUB is {config.hub!r}, and the hub can't be a process of its own here,"
            f" because {reason}. Remove PUSH_HUB where you develop: the hub is then a"
            " thread of the app's process. Set it on Linux."
        )
    for key, value in (
        ("PUSH_ACCEL", config.accel),
        ("PUSH_RETURN_TICKET", config.return_ticket),
    ):
        if value and (reason := why_no_unix_sockets()):
            raise RuntimeError(
                f"{key} is {value!r}, and nginx can't connect to the hub here, because"
                f" {reason}. Remove {key} where you develop, and set it on Linux."
            )


def why_development(app: Flask, config: Config) -> str:
    """Why the hub is a thread, if only because this system can't run its process. Empty if
    it is a process, or would be a thread on Linux, too."""
    if app.testing or config.hub is not None or config.broker_url == "memory:":
        return ""
    return why_no_hub_process()


def introduce(config: Config, reason: str) -> None:
    """Log what the development mode is, and what differs from Linux. Called when the hub
    starts, after it has raised the limit of descriptors."""
    most = min(config.max_streams, limit() - reserve(limit()))
    logger.warning(
        "The hub is a thread of this process, for development, because %s. Its streams end"
        " with the process, and their browsers reconnect; at most %d streams are open at"
        " once. On Linux, the hub is a process of its own.",
        *(reason, most),
    )


def files_of(app: Flask, config: Config) -> list[HubFiles]:
    """The sites of the app's hubs; none, if they are threads. Creates nothing."""
    _, kind = choose(app, config)
    if kind == "process":
        return files_in(Place.of(app).directory(config), config)
    return [] if kind == "thread" else [HubFiles(Path(kind))]


def files_in(directory: Path, config: Config) -> list[HubFiles]:
    """The files of all hubs of a run directory."""
    return [HubFiles.of(directory, number) for number in range(config.hub_processes)]
