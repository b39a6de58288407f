"""Starts Flask-Push in its several forms, and the server in C."""

from __future__ import annotations

import json
import os
import sys

from processes import CACHE
from processes import CPUS
from processes import free_port
from processes import HERE

from start.server import Running

_APPS = HERE / "apps"


def bare(running: Running, *more: str) -> None:
    """The server in C."""
    words = [str(CACHE / "bare"), str(running.port), str(running.publish_port), *more]
    running.processes.start(words, running.port)


def hub_alone(running: Running) -> None:
    words = [sys.executable, str(_APPS / "hub_alone.py")]
    words += [str(running.port), str(running.publish_port)]
    running.processes.start(words, running.port, env=_version(running))


def _version(running: Running) -> dict[str, str]:
    return {"PYTHONPATH": running.source} if running.source else {}


def app(running: Running) -> None:
    """The app on gunicorn, with the default store."""
    env = _environment(running)
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket"]
    command += ["--backlog", "4096", "--keep-alive", "600", *running.workers, "app:app"]
    if not running.separate_publisher:
        running.publish_port = running.port
    # A view that computes may slow down the hub only through what they share, and not
    # because they run on the same processor.
    cpus = CPUS if running.separate_publisher else None
    for port in {running.port, running.publish_port}:
        bound = [*command, "-b", f"127.0.0.1:{port}"]
        running.processes.start(bound, port, _APPS, env, cpus)


def _environment(running: Running) -> dict[str, str]:
    env = {f"FLASK_{key}": json.dumps(value) for key, value in running.config.items()}
    return {**env, "INSTANCE": str(running.directory), **_version(running)}


def app_in_memory(running: Running) -> None:
    """One worker with the store in its memory, as nchan, Go and node have it."""
    running.config["PUSH_BROKER_URL"] = "memory:"
    app(running)


def app_in_memory_of_uwsgi(running: Running) -> None:
    """The same on uWSGI, which reads and answers requests in C."""
    running.config["PUSH_BROKER_URL"] = "memory:"
    running.publish_port = running.port
    words = ["pyuwsgi", "--http11-socket", f"127.0.0.1:{running.port}", "--so-keepalive"]
    words += ["--master", "--threads", "4", "--listen", "4096", "--disable-logging"]
    env = _environment(running)
    running.processes.start([*words, "-w", "app:app"], running.port, _APPS, env)


def app_on_redis(running: Running) -> None:
    url = f"redis://127.0.0.1:{redis(running)}"
    running.config = {**running.config, "PUSH_BROKER_URL": url}
    app(running)


def app_behind_nginx(running: Running, ticket: float = 0) -> None:
    """The app behind nginx, configured as on the page about return tickets."""
    front, running.port = running.port, free_port()
    run = str(running.directory / "run")
    running.config |= {"PUSH_RUN_DIR": run, "PUSH_RETURN_TICKET": ticket}
    running.config |= {"SECRET_KEY": "bench"}
    app(running)
    # nginx's workers need access to the run directory, which belongs to this user.
    user = "user root;" if os.geteuid() == 0 else ""
    path = running.directory / "nginx.conf"
    given = {"directory": running.directory, "app": running.port, "user": user}
    path.write_text((_APPS / "nginx.conf").read_text().format(**given, port=front))
    words = ["nginx", "-p", str(running.directory), "-c", str(path)]
    running.processes.start(words, front)
    running.port = front


def redis(running: Running) -> int:
    port = free_port()
    words = ["redis-server", "--port", str(port), "--save", "", "--maxclients", "19000"]
    # Readers and publishers connect from all addresses of 127.0.0.0/8.
    words += ["--protected-mode", "no"]
    words += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
    running.processes.start([*words, "--dir", str(running.directory)], port)
    return port
