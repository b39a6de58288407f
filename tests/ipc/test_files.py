"""The files by which processes find a hub, and the ties to them."""

from __future__ import annotations

from pathlib import Path

from support.hub_files import files as files
from support.hub_files import run_dir as run_dir
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import serve
from support.servers import status
from support.servers import until

from flask_push._ipc.files import HubFiles
from flask_push._ipc.files import Tie
from flask_push._ipc.files import Ties


def test_processes_that_are_tied_to_a_removed_file_count(files: HubFiles) -> None:
    ties, first, second = Ties(files), Tie(files), Tie(files)
    try:
        first.renew(create=True)
        for _ in range(3):
            files.ties.unlink()
            ties.renew()
        assert ties.any()
        second.renew(create=False)
        first.release()
        assert ties.any()
        second.release()
        assert not ties.any()
    finally:
        ties.close()


def test_a_process_ties_itself_again_where_the_file_was_replaced(files: HubFiles) -> None:
    tie = Tie(files)
    tie.renew(create=True)
    files.ties.unlink()
    ties = Ties(files)
    try:
        assert not ties.any()
        tie.renew(create=False)
        assert ties.any()
    finally:
        tie.release()
        ties.close()


def test_where_no_socket_can_be_made_the_door_is_elsewhere(tmp_path: Path) -> None:
    run_dir = tmp_path / "push-basic"
    run_dir.mkdir(0o700)
    # Nor can a bell be made, and so the hub looks by itself.
    (run_dir / "push.db.bells").write_text("")
    files = HubFiles.of(run_dir)
    with serve(gunicorn, tmp_path, "-w", "2", app="apps.socketless") as server:
        readers = [server.stream("a").opened() for _ in range(4)]
        server.publish("a", "x")
        for reader in readers:
            assert reader.read_data(1) == ["x"]
        assert status(tmp_path)["streams"] == 4
        assert not files.sock.exists() and files.elsewhere.exists()
        assert files.elsewhere.parent.stat().st_mode & 0o777 == 0o700
        assert "events are delivered up to 0.1 seconds later" in files.log.read_text()
        # A worker logs it after the hub.
        until(lambda: f"The hub listens at {files.elsewhere} instead" in server.log)
        (pid,) = kill_hubs(tmp_path)
        until(lambda: hubs(tmp_path) not in ([], [pid]))
        again = server.stream("a", last_id=readers[0].last_id).opened()
        server.publish("a", "y")
        assert again.read_data(1) == ["y"]
        server.kill()
    assert not files.elsewhere.parent.exists(), "nothing is left there"
