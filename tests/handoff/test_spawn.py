"""How a hub process is started: what it finds, what it leaves out, what it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flask
import pytest
from support.servers import end_hubs
from support.servers import ROOT

# The app's libraries are in a directory beside it that it names relative to where it was
# started. Then a view changes the working directory, and something else the path.
VENDORED = """
import os, socket, sys
sys.path[:0] = ["lib", "plugins", {packages!r}]
from flask_push._ipc.files import HubFiles
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push._handoff.process_door import ProcessDoor
from dataclasses import asdict
from pathlib import Path
hello = dict(url={url!r}, retention=None, timeout=2, linger=0.5,
             options=asdict(Options()))
hub = ProcessDoor(HubFiles.of(Path({directory!r})), hello)
{then}
ours, theirs = socket.socketpair()
ours.settimeout(20)
hub.adopt(Stream(("a",), "connection"), Client(theirs.detach()))
received = b""
while b"push:open" not in received:
    data = ours.recv(65536)
    assert data, received
    received += data
"""


# Another package's broker, which is the default one in this case.
PLUGIN = """
from flask_push.brokers import open_broker
def from_url(url, directory, retention, timeout):
    return open_broker("sqlite://{directory}/push.db", None, retention, timeout)
"""


NOTHING_ELSE = [sys.executable, "-I", "-S"]


def run_vendored(
    directory: Path,
    url: str,
    then: str = "",
    python: list[str] = NOTHING_ELSE,
    env: dict[str, str] | None = None,
) -> None:
    """
    :param python: The interpreter; by default, one that finds nothing else.
    """
    lib = directory / "lib"
    lib.mkdir()
    (lib / "flask_push").symlink_to(ROOT / "src" / "flask_push")
    metadata = directory / "plugins" / "shelf-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: shelf\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[flask_push.brokers]\nshelf = shelf:from_url\n"
    )
    (directory / "plugins" / "shelf.py").write_text(PLUGIN.format(directory=str(directory)))
    packages = str(Path(flask.__file__).parents[1])
    code = VENDORED.format(packages=packages, directory=str(directory), url=url, then=then)
    try:
        done = subprocess.run(
            [*python, "-c", code],
            cwd=directory,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        log = directory / "hub.log"
        assert done.returncode == 0, (done.stderr, log.read_text())
    finally:
        end_hubs(directory)


def test_a_hub_finds_what_the_app_finds_by_a_relative_path(tmp_path: Path) -> None:
    run_vendored(tmp_path, "shelf:")


def test_a_hub_is_found_after_the_app_has_changed_directory(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    run_vendored(tmp_path, url, "os.chdir('/'); sys.path.remove('lib')")


# Writes down which processes it has entered, as a tracer would.
TRACER = """
import os
with open({seen!r}, "a") as seen:
    seen.write(f"{{os.getpid()}}\\n")
"""


@pytest.mark.parametrize("where", ["PYTHONPATH", "site-packages"])
def test_a_tracer_that_enters_each_python_process_stays_out_of_the_hub(
    where: str, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    bin = environment / "bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(sys.executable)
    home = Path(sys.base_exec_prefix, "bin")
    (environment / "pyvenv.cfg").write_text(f"home = {home}\n")
    agent = environment / "lib" / Path(os.__file__).parent.name / "site-packages"
    env = {}
    if where == "PYTHONPATH":
        agent = tmp_path / "agent"
        env = {"PYTHONPATH": str(agent)}
    agent.mkdir(parents=True)
    seen = tmp_path / "seen"
    (agent / "sitecustomize.py").write_text(TRACER.format(seen=str(seen)))
    run_vendored(
        tmp_path, f"sqlite://{tmp_path}/push.db", python=[str(bin / "python")], env=env
    )
    assert len(seen.read_text().split()) == 1, "it is in the app's process alone"
