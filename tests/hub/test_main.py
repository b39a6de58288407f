"""How a hub process begins: its name, and its log."""

from __future__ import annotations

import os
import re
from pathlib import Path

from support.servers import gunicorn
from support.servers import serve
from support.servers import the_hub
from support.servers import until


def test_a_hub_is_shown_by_what_it_is(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        shown = Path(f"/proc/{the_hub(tmp_path)}/cmdline").read_bytes().rstrip(b"\0")
        door = tmp_path / "push-basic" / "hub.sock"
        assert os.fsdecode(shown) == f"flask-push hub: {door}"


def test_a_hub_does_not_interrupt_a_worker_for_each_message(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        assert os.sched_getscheduler(the_hub(tmp_path)) == os.SCHED_BATCH


def test_each_line_of_the_hubs_log_has_its_time_and_level(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_MAX_STREAMS=1) as server:
        server.stream("a").opened()
        server.stream("a").read_to_end()
        log = tmp_path / "push-basic" / "hub.log"
        pid = the_hub(tmp_path)
        until(lambda: "PUSH_MAX_STREAMS" in log.read_text())
        for line in log.read_text().splitlines():
            assert re.match(
                rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} {pid} [A-Z]+ ", line
            )
