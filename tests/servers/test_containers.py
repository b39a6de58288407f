"""Containers of one machine that share a run directory, as one volume."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.containers import namespaces
from support.servers import end_hubs
from support.servers import hubs
from support.servers import program
from support.servers import TESTS
from support.servers import the_hub
from support.servers import until

from flask_push import Event
from flask_push.brokers import open_broker

# Opens a stream for each line that it reads, and prints the events that it receives.
WORKER = """
import sys
from pathlib import Path
from support.sockets import read_until
from support.workers import adopt, make
worker = make(Path(sys.argv[1]))
for line in sys.stdin:
    client = adopt(worker)
    read_until(client, b"push:open")
    print("open", flush=True)
    sys.stdin.readline()
    read_until(client, b"data: x")
    print("x", flush=True)
worker.stop()
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> cabc.Iterator[Path]:
    (directory := tmp_path / "volume").mkdir(0o700)
    yield directory
    end_hubs(directory)


def container(run_dir: Path) -> contextlib.AbstractContextManager[subprocess.Popen[t.Any]]:
    command = [*namespaces(), sys.executable, "-c", WORKER, str(run_dir)]
    return program(command, stdin=subprocess.PIPE, cwd=TESTS, text=True)


def ask(worker: subprocess.Popen[t.Any]) -> str:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return str(worker.stdout.readline()).strip()


def test_containers_with_one_volume_share_one_hub_and_then_its_successor(
    run_dir: Path,
) -> None:
    with container(run_dir) as second:
        with container(run_dir) as first:
            assert (ask(first), ask(second)) == ("open", "open")
            pid = the_hub(run_dir)
            broker = open_broker("sqlite:", run_dir)
            broker.publish([Event("a", "x")])
            broker.close()
            assert (ask(first), ask(second)) == ("x", "x")
            first.kill()
        if not namespaces():
            os.kill(pid, 9)
        # The container has ended, and with it the hub inside.
        until(lambda: hubs(run_dir) not in ([], [pid]))
        assert ask(second) == "open"
        assert len(hubs(run_dir)) == 1
