"""Starts the other servers, each in the configuration that is fastest for it."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from processes import CACHE
from processes import CPUS
from processes import free_port
from processes import HERE

from start.flask_push import redis
from start.server import Running

_PEERS = HERE / "peers"
_PACKAGES = (
    *("flask-sse", "hiredis", "gevent", "gunicorn", "packaging"),
    *("sse-starlette", "starlette", "uvicorn", "uvloop", "httptools"),
    *("aiohttp", "aiohttp-sse", "django", "django-eventstream"),
)


@functools.cache
def python() -> Path:
    """A Python of its own, with the packages that only these servers need."""
    path = CACHE / "venv" / "bin" / "python"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        subprocess.run([path, "-m", "pip", "install", "-q", *_PACKAGES], check=True)
    return path


def uvicorn(running: Running, app: str) -> None:
    words = [str(python()), "-m", "uvicorn", "--no-access-log", "--log-level", "error"]
    words += ["--backlog", "4096", "--timeout-keep-alive", "600"]
    words += ["--port", str(running.port), f"{app}:app"]
    running.processes.start(words, running.port, _PEERS)
    running.publish_port = running.port


def flask_sse(running: Running) -> None:
    running.publish_port = redis(running)
    words = [str(python()), "-m", "gunicorn", "--no-control-socket", "--backlog", "4096"]
    words += ["-k", "gevent", "--worker-connections", "20000"]
    words += ["-b", f"127.0.0.1:{running.port}", "flask_sse_app:app"]
    env = {"REDIS_URL": f"redis://127.0.0.1:{running.publish_port}"}
    running.processes.start(words, running.port, _PEERS, env)


def aiohttp(running: Running) -> None:
    words = [str(python()), "aiohttp_sse_app.py", str(running.port)]
    running.processes.start(words, running.port, _PEERS)
    running.publish_port = running.port


def node(running: Running, script: str) -> None:
    # Node looks for packages beside the script, so the script is copied to the packages.
    path = shutil.copy(_PEERS / script, CACHE)
    if script == "better_sse.mjs" and not (CACHE / "node_modules" / "better-sse").exists():
        words = ["npm", "--prefix", str(CACHE), "install", "--no-audit", "--no-fund"]
        subprocess.run([*words, "--no-package-lock", "better-sse"], check=True)
    running.processes.start(["node", path, str(running.port)], running.port)
    running.publish_port = running.port


def go(running: Running) -> None:
    program, source = CACHE / "hub", _PEERS / "hub.go"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["go", "build", "-o", program, source], check=True)
    env = {"GOMAXPROCS": "1"}
    running.processes.start([program, str(running.port)], running.port, env=env)
    running.publish_port = running.port


def nchan(running: Running) -> None:
    _nginx(running, running.port)
    running.publish_port = running.port


def _nginx(running: Running, port: int) -> None:
    path = running.directory / "nginx.conf"
    text = (_PEERS / "nginx.conf").read_text()
    path.write_text(text.format(directory=running.directory, port=port))
    words = ["nginx", "-p", str(running.directory), "-c", str(path)]
    running.processes.start(words, port)


def pushpin(running: Running) -> None:
    origin = free_port()
    _nginx(running, origin)
    given = {"directory": running.directory, "port": running.port}
    for name in "pushpin.conf", "zurl.conf":
        text = (_PEERS / name).read_text()
        text = text.format(**given, publish_port=running.publish_port)
        (running.directory / name).write_text(text)
    (running.directory / "routes").write_text(f"* 127.0.0.1:{origin}\n")
    zurl = ["zurl", f"--config={running.directory}/zurl.conf"]
    running.processes.start(zurl, origin, cpus=CPUS)
    words = ["pushpin", "--config", str(running.directory / "pushpin.conf")]
    running.processes.start(words, running.port, cpus=CPUS)
    # It listens before its processes are connected to each other.
    deadline = time.monotonic() + 20
    while not _is_ok(f"http://127.0.0.1:{running.port}/grip?channel=none"):
        if time.monotonic() > deadline:
            raise RuntimeError("Pushpin did not answer.")
        time.sleep(0.1)


def _is_ok(url: str) -> bool:
    with contextlib.suppress(OSError), urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False
