"""Streams that are resumed with return tickets, behind nginx."""

from __future__ import annotations

import collections.abc as cabc
import re
from pathlib import Path

import pytest

from support.nginx import nginx
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server

PAGE = (ROOT / "docs" / "return-tickets.md").read_text()


CONFIG = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.M | re.S)[0]


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(gunicorn, tmp_path, PUSH_RETURN_TICKET=60, PUSH_RETRY=0.5) as server:
        yield server


@pytest.fixture
def front(server: Server, tmp_path: Path) -> cabc.Iterator[Server]:
    front = nginx(tmp_path, server, CONFIG)
    yield front
    front.kill()


def come(
    front: Server, cookies: dict[str, str], last_id: str = "", origin: str = ""
) -> HttpReader:
    """Request a stream as a browser does, with its cookies, which the response changes."""
    said = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": said, **({"Origin": origin} if origin else {})}
    reader = front.stream("a", last_id=last_id, headers=headers).opened()
    for line in reader.head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            key, _, rest = value.partition("=")
            cookies[key] = rest.partition(";")[0]
    return reader


def views(front: Server) -> int:
    """How many requests the app has answered, without this one."""
    return int(front.get("/torn-down"))
