"""Which servers have a socket for us, and where."""

from __future__ import annotations

import collections.abc as cabc
import os
import socket
import ssl
import sys
import types
import typing as t

import pytest

from flask_push._handoff import sockets
from flask_push._handoff.sockets import find_socket
from flask_push._handoff.sockets import NoSocket

Environ = dict[str, t.Any]


@pytest.fixture
def server() -> cabc.Iterator[socket.socket]:
    """What a server has of a client."""
    client, server = socket.socketpair()
    with client, server:
        yield server


def environ(sock: t.Any, key: str = "werkzeug.socket", **more: str) -> Environ:
    return {key: sock, "SERVER_PROTOCOL": "HTTP/1.1", **more}


class Channel:
    """As waitress has it: the key is a method of it."""

    def __init__(self, sock: t.Any) -> None:
        self.socket = sock

    def check_client_disconnected(self) -> bool:
        return False


class Input:
    """As eventlet has it."""

    def __init__(self, sock: t.Any) -> None:
        self.get_socket = lambda: sock


class Body:
    """As cheroot and gevent have it. Its class is in a module of theirs."""

    def __init__(self, sock: t.Any) -> None:
        self.rfile = types.SimpleNamespace(raw=types.SimpleNamespace(_sock=sock))


def body_of(module: str, sock: t.Any) -> t.Any:
    return type("Body", (Body,), {"__module__": module})(sock)


def environs(sock: t.Any) -> list[Environ]:
    """What each server's looks like."""
    return [
        environ(sock, "gunicorn.socket"),
        environ(sock, "gunicorn.sock"),
        environ(sock, "werkzeug.socket"),
        environ(Channel(sock).check_client_disconnected, "waitress.client_disconnected"),
        environ(Input(sock), "eventlet.input"),
        environ(body_of("cheroot.server", sock), "wsgi.input"),
        environ(body_of("gevent.pywsgi", sock), "wsgi.input"),
    ]


def test_servers_are_known_by_what_they_say(server: socket.socket) -> None:
    for found in environs(server):
        assert find_socket(found) == server.fileno()
        assert find_socket({**found, "SERVER_PROTOCOL": "HTTP/1.0"}) == server.fileno()


def test_wsgiref_is_known_by_its_name(server: socket.socket) -> None:
    with server.makefile("rb") as body:
        found = environ(body, "wsgi.input", SERVER_SOFTWARE="WSGIServer/0.2 CPython/3.11.7")
        assert find_socket(found) == server.fileno()
        for software in "", "mod_wsgi", "Another/WSGIServer/0.2":
            with pytest.raises(NoSocket, match="does not give us"):
                find_socket({**found, "SERVER_SOFTWARE": software})


def uwsgi(sock: socket.socket, **options: bytes | bool) -> t.Any:
    module: t.Any = types.ModuleType("uwsgi")
    module.opt = {name.replace("_", "-"): value for name, value in options.items()}
    module.connection_fd = sock.fileno
    return module


UWSGI = {"uwsgi.version": b"2.0.30", "SERVER_PROTOCOL": "HTTP/1.1"}


def test_uwsgi_is_asked(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[dict[str, bytes | bool]] = [
        {"http": b":80"},
        {"http_socket": b":80", "master": True},
        {"socket": b":80"},
        {"socket": b":80", "protocol": b"http"},
        {"https": b":443,cert,key"},
    ]
    for options in plain:
        monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(server, **options))
        assert find_socket(UWSGI) == server.fileno()


@pytest.mark.parametrize(
    "name",
    [
        *("https_socket", "fastcgi_socket", "scgi_socket", "raw_socket", "suwsgi_socket"),
        *("puwsgi_socket", "zeromq", "fastcgi_nph_socket", "https_socket_modifier1"),
    ],
)
def test_uwsgi_that_does_not_speak_plain_http_is_left_alone(
    name: str, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(server, http=b":80", **{name: b":1"}))
    with pytest.raises(NoSocket, match=f"option {name.replace('_', '-')} may"):
        find_socket(UWSGI)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(server, protocol=b"fastcgi"))
    with pytest.raises(NoSocket, match="option protocol may"):
        find_socket(UWSGI)


@pytest.mark.parametrize("protocol", ["HTTP/2", "HTTP/2.0", "HTTP/3", "", "SPDY"])
def test_other_protocols_have_no_socket_of_their_own(
    protocol: str, server: socket.socket
) -> None:
    with pytest.raises(NoSocket, match="protocol"):
        find_socket(environ(server, SERVER_PROTOCOL=protocol))


def test_unknown_servers_are_left_alone(server: socket.socket) -> None:
    with pytest.raises(NoSocket, match="does not give us"):
        find_socket(environ(server, "wsgi.input"))
    with pytest.raises(NoSocket, match="does not give us"):
        find_socket(environ(body_of("another.server", server), "wsgi.input"))
    with pytest.raises(NoSocket, match="does not give us"):
        find_socket({"SERVER_PROTOCOL": "HTTP/1.1"})
    with pytest.raises(NoSocket, match="PushASGI"):
        find_socket({"asgi.scope": {}, "SERVER_PROTOCOL": "HTTP/1.1"})


def test_a_server_that_has_moved_its_socket_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "uwsgi", raising=False)
    for found in *environs(None), UWSGI:
        with pytest.raises(NoSocket, match="version of .* in another place$"):
            find_socket(found)
    for key in "eventlet.input", "waitress.client_disconnected":
        with pytest.raises(NoSocket, match="version of"):
            find_socket(environ(object(), key))


def test_tls_in_the_server_is_left_alone(server: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with server.dup() as sock:
        with context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        ) as wrapped:
            for found in environs(wrapped):
                with pytest.raises(NoSocket, match="TLS"):
                    find_socket(found)


def test_tls_of_openssl_is_left_alone(server: socket.socket) -> None:
    class Connection:
        fileno = server.fileno

        def get_peer_certificate(self) -> None: ...

    with pytest.raises(NoSocket, match="TLS"):
        find_socket(environ(Connection()))


def test_what_is_closed_or_no_socket_is_left_alone() -> None:
    closed = socket.socket()
    closed.close()
    with pytest.raises(NoSocket, match="closed"):
        find_socket(environ(closed))
    with open(os.devnull) as file, pytest.raises(NoSocket, match="not a socket"):
        find_socket(environ(file))


def test_a_socket_object_is_found_where_its_number_is_no_descriptor(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_ARE_FILES", False)
    assert find_socket(environ(server, "werkzeug.socket")) is server
    with server.makefile("rb") as body:
        found = environ(body, "wsgi.input", SERVER_SOFTWARE="WSGIServer/0.2 CPython/3.11.7")
        assert find_socket(found) is server
    # Other servers keep the number.
    for found in environs(server):
        if "werkzeug.socket" not in found:
            with pytest.raises(NoSocket, match="this system can't move the sockets of"):
                find_socket(found)
    closed = socket.socket()
    closed.close()
    with pytest.raises(NoSocket, match="closed or not a socket"):
        find_socket(environ(closed, "werkzeug.socket"))


def test_no_reason_is_the_clients_to_choose(server: socket.socket) -> None:
    """Each is logged, and remembered."""
    said = set()
    for protocol in "HTTP/2", "HTTP/3", "HTTP/9.9":
        with pytest.raises(NoSocket) as raised:
            find_socket(environ(server, SERVER_PROTOCOL=protocol))
        said.add(str(raised.value))
    assert len(said) == 1
