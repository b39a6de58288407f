"""What processes of the app count, and how the hub gets it: each count once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.figures_files import close
from support.figures_files import directory as directory
from support.figures_files import only

from flask_push._delivery.figures import BY_NAME
from flask_push._delivery.figures import Figures
from flask_push._ipc import process_figures
from flask_push._ipc.process_figures import ProcessFigures
from flask_push._ipc.process_figures import ProcessFiles

SECONDS = BY_NAME["publish_seconds"]


def test_the_hub_gets_what_a_process_counts_at_once_and_once(directory: Path) -> None:
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    assert hub.take() == (Figures(), Figures())
    assert not directory.exists(), "a process that counts nothing has no file"
    process.published(3, 400)
    process.count("publish_failures:uncertain")
    process.count("relays")
    since, gauges = hub.take()
    assert since["published_events"] == 3
    assert since["publish_failures:uncertain"] == 1
    assert since.histogram(SECONDS)[0][-1] == 1
    assert since.histogram(SECONDS)[1] == 0.0004
    assert gauges == {"relays": 1, "processes": 1}
    process.count("relays", -1)
    assert hub.take() == (Figures(), Figures({"processes": 1}))
    process.published(1, 400)
    assert hub.take()[0]["published_events"] == 1
    close(process)


def test_another_hub_goes_on_where_one_has_ended(directory: Path) -> None:
    process = ProcessFigures(directory)
    process.published(3, 1)
    ProcessFiles(directory).take()
    process.published(2, 1)
    assert ProcessFiles(directory).take()[0]["published_events"] == 2
    assert ProcessFiles(directory).take()[0] == {}
    close(process)


def test_the_file_of_a_process_that_was_killed_is_counted_and_removed(
    directory: Path,
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from flask_push._ipc.process_figures import ProcessFigures;"
        "ProcessFigures(Path(sys.argv[1])).published(7, 1);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], timeout=30)
    hub = ProcessFiles(directory)
    assert only(directory).name.partition("-")[0].isdecimal()
    since, gauges = hub.take()
    assert since["published_events"] == 7 and not gauges
    assert not [*directory.iterdir()]
    assert hub.take() == (Figures(), Figures())


def test_a_child_of_a_fork_has_a_file_of_its_own(directory: Path) -> None:
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    process.published(1, 1)
    ready, end = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        process.published(10, 1)
        os.write(ready[1], b".")
        os.read(end[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    since, gauges = hub.take()
    assert (since["published_events"], gauges["processes"]) == (11, 2)
    os.write(end[1], b".")
    os.waitpid(child, 0)
    assert hub.take()[1]["processes"] == 1
    assert len([*directory.iterdir()]) == 1
    for fd in (*ready, *end):
        os.close(fd)
    close(process)


def test_what_the_parent_of_a_fork_began_may_end_in_the_child(directory: Path) -> None:
    process = ProcessFigures(directory)
    process.count("relays")
    process.abandon()  # as in the child
    process.count("relays", -1)
    process.published(2, 1)
    since, gauges = ProcessFiles(directory).take()
    assert since["published_events"] == 2
    assert "relays" not in gauges
    close(process)


def test_a_relay_that_is_collected_while_the_thread_counts_does_not_block_it(
    directory: Path,
) -> None:
    class Ends:
        def __init__(self, process: ProcessFigures) -> None:
            self.itself, self.process = self, process

        def __del__(self) -> None:
            self.process.count("relayed_streams")

    def count() -> None:
        # At each place where it may be collected.
        for threshold in range(1, 60):
            process = ProcessFigures(directory)
            gc.collect()
            Ends(process)
            gc.set_threshold(threshold)
            process.published(1, 1)
            gc.set_threshold(*before)
            gc.collect()
            assert process.figures["published_events"] == 1
            close(process)
        done.append(True)

    before, done = gc.get_threshold(), list[bool]()
    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        thread.join(30)
    finally:
        gc.set_threshold(*before)
    assert done


def test_a_process_whose_parent_has_a_file_does_not_keep_that(directory: Path) -> None:
    """A child that counts nothing lives on when its parent has ended."""
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from flask_push._ipc.process_figures import ProcessFigures;"
        "process = ProcessFigures(Path(sys.argv[1])); process.published(7, 1);"
        "child = os.fork(); os.close(0) if child else sys.stdin.read();"
        "print(child, flush=True) if child else None"
    )
    command = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert int(parent.stdout.readline())
        parent.wait(30)
        assert ProcessFiles(directory).take()[1] == {}
        assert not [*directory.iterdir()]
        parent.stdin.close()


def test_other_files_do_no_harm(directory: Path) -> None:
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    process.published(2, 1)
    own = only(directory)
    (directory / "notes.txt").write_text("x")
    (directory / "empty").write_text("")
    (directory / "nested").mkdir()
    (directory / "link").symlink_to(directory / "empty")
    (directory / ".hidden").write_text("x")
    others = {*directory.iterdir()} - {own}
    assert hub.take()[0]["published_events"] == 2
    assert {*directory.iterdir()} == {own, *others}
    close(process)


OLD = 1_000_000_000


def test_files_that_no_process_will_use_are_removed(directory: Path) -> None:
    """Without this, a thousand of them would keep all processes from being counted."""
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    process.published(2, 1)
    own, target = only(directory), directory / "target"
    target.write_text("kept")
    (directory / "1-damaged").write_text("x")
    (directory / "2-huge").touch()
    os.truncate(directory / "2-huge", 1 << 40)
    # One that was killed while it made its file.
    (directory / ".3-hidden").write_text("x")
    (directory / "4-link").symlink_to(target)
    for name in ".3-hidden", "4-link":
        os.utime(directory / name, (OLD, OLD), follow_symlinks=False)
    # A process may be making this one.
    (directory / ".5-new").write_text("x")
    (directory / "6-nested").mkdir()
    os.utime(directory / "6-nested", (OLD, OLD))
    assert hub.take()[0]["published_events"] == 2
    left = {path.name for path in directory.iterdir()}
    assert left == {own.name, "target", ".5-new", "6-nested"}
    assert target.read_text() == "kept"
    close(process)


def test_values_of_another_version_are_kept(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("published_events", *process_figures._KEYS[1:], "newer")
    with monkeypatch.context() as newer:
        newer.setattr(process_figures, "_KEYS", keys)
        directory.mkdir()
        file = process_figures._make(directory, Figures())
    file.write([5] + [0] * (len(keys) - 2) + [9])
    assert ProcessFiles(directory).take()[0] == {"published_events": 5, "newer": 9}
    assert ProcessFiles(directory).take()[0] == {}
    file.close()


def test_further_processes_count_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_figures, "MAX_FILES", 1)
    one, other = ProcessFigures(directory), ProcessFigures(directory)
    one.published(1, 1)
    other.published(1, 1)
    assert len([*directory.iterdir()]) == 1
    close(one)
    assert ProcessFiles(directory).take()[0]["published_events"] == 1
    # It looks again, after a while.
    other._look_at = 0
    other.published(1, 1)
    assert ProcessFiles(directory).take()[0]["published_events"] == 2
    close(other)


def test_what_a_process_counts_while_the_disk_is_full_is_not_lost(tmp_path: Path) -> None:
    # A directory that can't be made, as on a full disk.
    process = ProcessFigures(tmp_path / "run" / "hub.figures")
    process.published(5, 1)
    (tmp_path / "run").mkdir()
    process._look_at = 0
    process.published(2, 1)
    assert ProcessFiles(tmp_path / "run" / "hub.figures").take()[0]["published_events"] == 7
    close(process)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_that_was_removed_is_made_again_and_nothing_counts_twice(
    directory: Path, what: str
) -> None:
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    process.published(5, 1)
    assert hub.take()[0]["published_events"] == 5
    process.published(2, 1)
    only(directory).unlink()
    if what == "directory":
        directory.rmdir()
    process._look_at = 0
    process.published(1, 1)
    assert hub.take()[0]["published_events"] == 3
    process.published(1, 1)
    assert hub.take()[0]["published_events"] == 1
    close(process)


def test_a_damaged_file_that_was_removed_counts_nothing_twice(directory: Path) -> None:
    process, hub = ProcessFigures(directory), ProcessFiles(directory)
    process.published(5, 1)
    hub.take()
    path = only(directory)
    path.write_bytes(b"x")
    path.unlink()
    process._look_at = 0
    process.published(1, 1)
    assert hub.take()[0] == {}
    process.published(1, 1)
    assert hub.take()[0]["published_events"] == 1
    close(process)


def test_a_directory_that_cannot_be_made_keeps_nobody_from_publishing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    process = ProcessFigures(tmp_path / "file" / "figures")
    process.published(1, 1)
    assert process.figures["published_events"] == 1


def test_threads_count_together(directory: Path) -> None:
    process = ProcessFigures(directory)

    def count() -> None:
        for _ in range(200):
            process.published(1, 5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ProcessFiles(directory).take()[0]["published_events"] == 800
    close(process)


def test_a_hub_in_a_thread_needs_no_file() -> None:
    process = ProcessFigures(None)
    process.published(2, 1)
    process.count("relays")
    since, gauges = process.take()
    assert since["published_events"] == 2 and gauges == {"relays": 1}
    assert process.take() == (Figures(), Figures({"relays": 1}))
    assert repr(process).startswith("<ProcessFigures {'published_events': 2")
    assert repr(ProcessFiles(Path("x"))) == "<ProcessFiles x>"
