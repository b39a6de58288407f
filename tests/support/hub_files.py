"""The files of a hub, and a hub that holds them."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from pathlib import Path

import pytest

from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (directory := tmp_path / "run").mkdir(0o700)
    return directory


@pytest.fixture
def files(run_dir: Path) -> HubFiles:
    return HubFiles.of(run_dir)


class FakeHub:
    """Answers each message with the next of its answers."""

    def __init__(self, files: HubFiles, *answers: dict[str, t.Any]) -> None:
        self.files, self.answers = files, answers
        self.door = files.listen()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            for answer in self.answers:
                sock, _ = self.door.accept()
                with contextlib.closing(Messages(sock)) as messages:
                    # Some only look whether anybody is there.
                    with contextlib.suppress(EOFError):
                        messages.receive()
                        if answer:
                            messages.send(answer)

    def __enter__(self) -> FakeHub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wake its accept(), if it waits.
        with contextlib.suppress(OSError):
            self.door.shutdown(2)
        self.thread.join()
        self.door.close()
