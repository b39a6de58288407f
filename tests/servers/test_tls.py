"""Servers that end TLS themselves keep the socket, and streams are relayed."""

from __future__ import annotations

import http.client
import ssl
import sys
import typing as t
from pathlib import Path

import pytest
from support.certificates import certificate as certificate
from support.packages import environment
from support.packages import install
from support.servers import free_port
from support.servers import Server
from support.servers import TESTS

GEVENT = "gevent==26.9.0"
PROGRAM = """
from gevent import monkey
monkey.patch_all()
from gevent.pywsgi import WSGIServer
from apps.basic import app
WSGIServer(("127.0.0.1", {port}), app, certfile="cert", keyfile="key").serve_forever()
"""
GUNICORN = ["-m", "gunicorn", "--no-control-socket", "--certfile=cert", "--keyfile=key"]
SERVERS: dict[str, list[str]] = {
    "flask run": [
        *("-m", "flask", "--app", "apps.basic", "run", "--port={port}"),
        *("--cert=cert", "--key=key"),
    ],
    "gunicorn": [*GUNICORN, "--threads=4", "-b:{port}", "apps.basic:app"],
    "gunicorn gevent": [*GUNICORN, "-kgevent", "-b:{port}", "apps.basic:app"],
    "gevent": ["-c", PROGRAM],
}


class TLSServer(Server):
    """A server to which clients connect with TLS."""

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.cwd / "cert")
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=20, context=context
        )


@pytest.mark.parametrize("name", SERVERS)
def test_streams_are_relayed_where_tls_ends(
    name: str, certificate: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    port = free_port()
    env = environment(install(pytestconfig, GEVENT), TESTS)
    env |= {"INSTANCE": str(tmp_path)}
    command = [sys.executable, *(word.format(port=port) for word in SERVERS[name])]
    server = TLSServer(command, port, tmp_path / "log", env, cwd=certificate)
    try:
        connection = server.connect()
        connection.request("GET", "/stream?channel=a")
        response: t.Any = connection.getresponse()
        assert response.headers["X-After-Request"] == "yes"
        while response.readline() != b"event: push:open\n":
            pass
        server.publish("a", "over TLS")
        while response.readline() != b"data: over TLS\n":
            pass
        connection.close()
        assert "are relayed" in server.log
        assert "because TLS ends in this server; let a proxy" in server.log
    finally:
        server.kill()
