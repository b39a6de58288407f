"""Where a worker writes its log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.servers import flask_run
from support.servers import serve
from support.servers import until

CONFIGURED = """
import logging
from apps.basic import app
logging.{configure}
"""
OURS = [
    "basicConfig(format='OURS %(message)s')",
    "getLogger('flask_push').addHandler(logging.StreamHandler(open('ours', 'w', 1)))",
]


def lines_about_streams(directory: Path, app: str = "apps.basic") -> list[str]:
    """What the worker logs of a stream that the hub refuses."""
    with serve(flask_run, directory, app=app, PUSH_MAX_STREAMS=1) as server:
        server.stream("a").opened()
        server.stream("a").read_to_end()

        def found() -> list[str]:
            text = server.log
            if (ours := directory / "ours").exists():
                text += ours.read_text()
            return [line for line in text.splitlines() if "PUSH_MAX_STREAMS" in line]

        until(found)
        server.stop()
        return found()


def test_a_line_has_its_time_and_level_where_the_app_configures_no_log(
    tmp_path: Path,
) -> None:
    (line,) = lines_about_streams(tmp_path)
    assert re.match(
        r"\[\d{4}-\d\d-\d\d [\d:,]+\] WARNING in process_door: hub \d+: Refused 1 streams",
        line,
    )


@pytest.mark.parametrize("configure", OURS)
def test_a_line_goes_only_to_the_handlers_of_the_app_if_it_has_any(
    configure: str, tmp_path: Path
) -> None:
    app = tmp_path / "logs.py"
    configure = configure.replace("'ours'", repr(str(tmp_path / "ours")))
    app.write_text(CONFIGURED.format(configure=configure))
    (line,) = lines_about_streams(tmp_path, str(app))
    assert re.match(r"(OURS )?hub \d+: Refused 1 streams", line)
