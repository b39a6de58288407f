"""nginx with the configuration of the page on X-Accel-Redirect."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import re
import shutil
import sys
import typing as t
from pathlib import Path

import pytest

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.nginx import NginxListener
from flask_push._ipc.client import Client
from support.servers import free_port
from support.servers import ROOT
from support.servers import serve
from support.servers import Server

PAGE = (ROOT / "docs" / "nginx-accel.md").read_text()


CONFIG = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.M | re.S)[0]


def granian(app: str, port: int, *more: str) -> list[str]:
    program = str(Path(sys.executable).parent / "granian")
    words = ["--interface", "wsgi", "--port", str(port), "--blocking-threads", "2"]
    return [program, *words, *more, f"{app}:app"]


def nginx(directory: Path, app: Server, config: str = CONFIG) -> Server:
    """The configuration of the page, in front of the app."""
    run_dir = directory / "push-basic"
    port = free_port()
    config = config.replace("127.0.0.1:8000", f"127.0.0.1:{app.port}")
    config = config.replace("/run/shop", str(run_dir))
    # Its workers run as the user of the tests, who owns the run directory.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = directory / "nginx.conf"
    path.write_text(f"""
        daemon off; worker_processes 2; pid {directory}/nginx.pid; {user}
        error_log stderr warn;
        events {{ worker_connections 512; }}
        http {{
            access_log off; {temporary}
            server {{ listen 127.0.0.1:{port}; {config} }}
        }}""")
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert program, "nginx is missing: tests/install nginx"
    command = [program, "-p", str(directory), "-c", str(path), "-e", "stderr"]
    return Server(command, port, directory / "nginx.log", {}, directory)


@pytest.fixture
def front(tmp_path: Path) -> cabc.Iterator[Server]:
    # No heartbeat notices that a browser has disconnected.
    config: dict[str, t.Any] = {"PUSH_ACCEL": "/_push/", "PUSH_HEARTBEAT": 3600}
    with serve(granian, tmp_path, **config) as server:
        front = nginx(tmp_path, server)
        try:
            yield front
        finally:
            front.kill()
            assert not re.search("error|warn|traceback", server.log, re.I), server.log


class Room:
    """A listener, and the streams that it hands over to the hub."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.adopted: list[tuple[Stream, int]] = []
        loop = asyncio.get_running_loop()
        options = Options()
        self.listener = NginxListener(loop, path, self.adopt, options)

    def adopt(self, stream: Stream, client: Client) -> None:
        self.adopted.append((stream, client.fd))
        os.write(client.fd, stream.head)

    def close(self) -> None:
        self.listener.close()
        for _, fd in self.adopted:
            os.close(fd)

    async def ask(self, request: bytes) -> bytes:
        """Send a request, and return the answer up to its end or to the hand-over."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        for n in range(len(request)):
            writer.write(request[n : n + 1])
        before = len(self.adopted)
        answer = b""
        async with asyncio.timeout(20):
            while data := await reader.read(65536):
                answer += data
                if len(self.adopted) > before:
                    break
        writer.close()
        return answer


def run(scene: cabc.Callable[[Room], cabc.Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        room = Room(tmp_path / "accel.sock")
        try:
            await scene(room)
        finally:
            room.close()
        assert not room.path.exists()

    asyncio.run(main())
