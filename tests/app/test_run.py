"""The entry by which a worker of an older version starts a hub, with today's files."""

from __future__ import annotations

import collections.abc as cabc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import end_hubs
from support.servers import hubs
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make

from flask_push._ipc.files import HubFiles

#: What a worker of 9d9f34b runs: it has this text in memory, from before an upgrade.
OLD_CODE = """\
import os, sys
if os.fork(): os._exit(0)
sys.path += [p for p in sys.argv.pop().split(os.pathsep) if p not in sys.path]
from flask_push._run import main
main(sys.argv[1:])"""


def start_as_before(files: HubFiles, *arguments: str | int) -> None:
    """Start a hub as a worker of 9d9f34b does."""
    path = os.pathsep.join(p for p in sys.path if os.path.isabs(p) and os.path.isdir(p))
    words = list(map(str, arguments))
    with open(files.log, "a") as log:
        subprocess.run(
            [sys.executable, "-P", "-c", OLD_CODE, str(files.sock), *words, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            pass_fds=[fd for fd in arguments if isinstance(fd, int)],
            start_new_session=True,
            check=True,
            timeout=20,
        )


@pytest.fixture
def files(tmp_path: Path) -> cabc.Iterator[HubFiles]:
    yield HubFiles.of(tmp_path)
    end_hubs(tmp_path)


def test_a_worker_of_an_older_version_starts_a_hub_and_replaces_it(
    files: HubFiles, tmp_path: Path
) -> None:
    lock = files.try_lock()
    assert lock is not None
    with files.listen() as listener:
        start_as_before(files, "--door", listener.fileno(), "--lock", lock)
    os.close(lock)
    worker = make(tmp_path, starts=False)
    try:
        with adopt(worker) as browser:
            read_until(browser, b"push:open")
            (first,) = hubs(tmp_path)
            start_as_before(files, "--replace", "--force")
            until(lambda: hubs(tmp_path) not in ([], [first]) and len(hubs(tmp_path)) == 1)
            with adopt(worker) as another:
                read_until(another, b"push:open")
            browser.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    assert browser.recv(1000), "the stream goes on"
    finally:
        worker.stop()
