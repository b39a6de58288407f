"""The file in which a process counts: damaged, and on a disk that is full."""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import typing as t
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.figures_files import close
from support.figures_files import directory as directory
from support.figures_files import only

from flask_push._delivery.figures import Figures
from flask_push._ipc.figures_file import FiguresFile
from flask_push._ipc.process_figures import ProcessFigures
from flask_push._ipc.process_figures import ProcessFiles


def test_it_keeps_what_was_counted_and_what_the_hub_has(tmp_path: Path) -> None:
    noted = Figures({"events": 2})
    file = FiguresFile.make(tmp_path, "1-name", ("events", "relays"), noted)
    assert file.read() == (Figures(), noted)
    file.write([7, 1])
    assert file.read() == (Figures({"events": 7, "relays": 1}), noted)
    file.note(Figures({"events": 7}))
    assert file.read()[1] == {"events": 7}
    assert not file.is_removed
    file.remove()
    assert file.is_removed and not [*tmp_path.iterdir()]
    file.close()


@pytest.mark.parametrize("left", [100, -4])
def test_a_disk_that_is_full_leaves_no_part_of_a_file(directory: Path, left: int) -> None:
    """It has room for the first bytes of a file, or for all but the last."""
    process = ProcessFigures(directory)
    process.published(1, 1)
    room = left % only(directory).stat().st_size
    only(directory).unlink()
    close(process)
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from flask_push._ipc.process_figures import ProcessFigures;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "limits = int(sys.argv[2]), resource.RLIM_INFINITY;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits);"
        "process = ProcessFigures(Path(sys.argv[1])); process.published(7, 1);"
        "assert not [*Path(sys.argv[1]).iterdir()];"
        "limit = resource.RLIM_INFINITY, resource.RLIM_INFINITY;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit);"
        "process._look_at = 0; process.published(1, 1)"
    )
    words = [sys.executable, "-c", code, str(directory), str(room)]
    subprocess.run(words, timeout=30, check=True)
    assert ProcessFiles(directory).take()[0]["published_events"] == 8


@given(st.data())
def test_a_file_that_is_damaged_counts_nothing_and_is_left(data: t.Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "figures"
        process, hub = ProcessFigures(directory), ProcessFiles(directory)
        process.published(2, 1)
        path = only(directory)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        if data.draw(st.booleans()):
            del content[place:]
        path.write_bytes(bytes(content))
        since, _ = hub.take()
        assert since in (Figures(), process.figures.counted)
        close(process)


@pytest.mark.parametrize("names", [b"5", b"null", b'{"a": 1}', b"[" * 20_000])
def test_names_that_are_no_list_do_no_harm(directory: Path, names: bytes) -> None:
    process = ProcessFigures(directory)
    process.published(1, 1)
    head = struct.pack("<II", len(names), zlib.crc32(names))
    only(directory).write_bytes(head + names + bytes(100))
    assert ProcessFiles(directory).take() == (Figures(), Figures())
    close(process)
