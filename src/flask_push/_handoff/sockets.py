"""Where each WSGI server keeps the client's socket.

A server is recognised by what it puts into the environ. A socket that merely looks right is
never used, because the server's event loop may still poll its number. No server is
imported, and no attribute is read from an object that was not recognised first.

Some of these places are private. If a server keeps its socket elsewhere in a new version,
streams are relayed, and a log line says why.
"""

from __future__ import annotations

import collections.abc as cabc
import io
import os
import socket
import stat
import sys
import typing as t

from .._system.abilities import SOCKETS_ARE_FILES

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class NoSocket(Exception):
    """The server does not give the client's socket away. The text is part of a log line."""


class OneThread(NoSocket):
    """The same, and a relay would keep the app from answering any other request."""


def find_socket(environ: WSGIEnvironment) -> int | socket.socket:
    """The number under which the server holds the client's socket. Its socket object, where
    the number is no descriptor.

    :raises NoSocket: If the server does not give it away, or it can't be used.
    """
    server, place = _recognise(environ)
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        # HTTP/2 has many requests on one socket. Its name is the client's to choose,
        # and stays out of a reason, each of which is logged and remembered.
        raise NoSocket("the protocol of its requests is not HTTP/1")
    try:
        found = place(environ)
        fd = int(found if isinstance(found, int) else found.fileno())
    except NoSocket:
        raise
    except Exception:
        raise NoSocket(
            f"this version of {server} keeps the client's socket in another place"
        ) from None
    if hasattr(found, "getpeercert") or hasattr(found, "get_peer_certificate"):
        raise NoSocket("TLS ends in this server; let a proxy in front end it")
    if not SOCKETS_ARE_FILES and fd >= 0:
        if server in _OBJECTS and isinstance(found, socket.socket):
            return found
        raise NoSocket(f"this system can't move the sockets of {server} to the hub")
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            return fd
    except OSError:
        pass
    raise NoSocket("the server's socket is closed or not a socket")


def closes_after_head(environ: WSGIEnvironment) -> bool:
    """Whether the server calls the response's ``close()`` when it has written the head.

    If a middleware calls it earlier, the server can't write the head, and takes its client
    for gone.
    """
    return "gunicorn.socket" in environ


# Returns a socket of an environ, or its number.
Find = cabc.Callable[["WSGIEnvironment"], t.Any]


def _recognise(environ: WSGIEnvironment) -> tuple[str, Find]:
    for key, place in _KEYS.items():
        if key in environ:
            return key.partition(".")[0], place
    # Other servers are recognised by the file from which a request's body is read.
    body = environ.get("wsgi.input")
    name = _BODIES.get(type(body).__module__)
    software = environ.get("SERVER_SOFTWARE", "")
    if type(body) is io.BufferedReader and software.startswith("WSGIServer/"):
        name = "wsgiref"
    if name == "asgiref" and "asgiref.wsgi" in sys.modules:
        raise OneThread(
            "asgiref's WsgiToAsgi has one thread for all requests, which a stream would"
            " keep; wrap the app in flask_push.asgi.PushASGI instead"
        )
    if "asgi.scope" in environ:
        raise NoSocket("this ASGI server's app is not a flask_push.asgi.PushASGI")
    if name in (None, "asgiref"):
        raise NoSocket("this server does not give us the client's socket")
    return name, _behind_body


def _behind_body(environ: WSGIEnvironment) -> t.Any:
    body = t.cast(t.Any, environ["wsgi.input"])
    return getattr(body, "rfile", body).raw._sock


def _ask_uwsgi(environ: WSGIEnvironment) -> int:
    # The module is built into uWSGI, and exists nowhere else.
    uwsgi: t.Any = sys.modules["uwsgi"]
    framed = [name for name in uwsgi.opt if name.startswith(_FRAMED)]
    for name in "protocol", "socket-protocol":
        if uwsgi.opt.get(name, b"http") not in _PLAIN:
            framed.append(name)
    if framed:
        raise NoSocket(f"uWSGI's option {framed[0]} may mean other than plain HTTP")
    return int(uwsgi.connection_fd())


_BODIES = {
    **{"cheroot.server": "cheroot", "gevent.pywsgi": "gevent"},
    # Other servers use these files of the standard library, too.
    "tempfile": "asgiref",
}

_KEYS: dict[str, Find] = {
    "gunicorn.socket": lambda environ: environ["gunicorn.socket"],
    # Of its worker gevent_pywsgi.
    "gunicorn.sock": lambda environ: environ["gunicorn.sock"],
    "werkzeug.socket": lambda environ: environ["werkzeug.socket"],
    "waitress.client_disconnected": (
        lambda environ: environ["waitress.client_disconnected"].__self__.socket
    ),
    "eventlet.input": lambda environ: environ["eventlet.input"].get_socket(),
    "uwsgi.version": _ask_uwsgi,
}

# Servers that have a thread for each request, and use the client's socket only as an object
# of Python, whose number may change.
_OBJECTS = {"werkzeug", "wsgiref"}

# How the names of those options of uWSGI begin with which it speaks another protocol than
# HTTP, or keeps connections for further requests.
_FRAMED = (
    *("fastcgi-", "scgi-", "raw-socket", "zeromq", "zmq"),
    *("https-socket", "suwsgi-", "puwsgi-"),
)
_PLAIN = (b"uwsgi", b"http", b"http11")
