"""A Flask app on an ASGI server, where a stream costs no thread.

a2wsgi runs the views, on a few threads. A view that answers with a stream ends there as
on any server: its response is final, its session saved, its thread free. The hub gets
one end of a socket pair, and from the other a coroutine forwards to the server, no
faster than the server takes it: a browser that is slow fills the pair, and is then
behind in the hub like any other. The server tells the coroutine when a browser leaves.

A server that ends waits for what is open. So the streams end as soon as it stops
listening.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import re
import socket
import threading
import typing as t
import weakref

from ._delivery.stream import Stream
from ._delivery.wire import HOP_BY_HOP
from ._handoff.door import Adopt
from ._handoff.shutdown import Ending
from ._handoff.transplant import HAND_OVER
from ._handoff.transplant import pair_with

try:
    from a2wsgi import WSGIMiddleware
except ModuleNotFoundError as error:
    raise RuntimeError(
        "flask_push.asgi needs a2wsgi. Install it: pip install 'flask-push[asgi]'"
    ) from error

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["PushASGI"]

Message = cabc.MutableMapping[str, t.Any]
Receive = cabc.Callable[[], cabc.Awaitable[Message]]
Send = cabc.Callable[[Message], cabc.Awaitable[None]]

# Where the scope, which a2wsgi puts into the environ, carries it.
_KEY = "flask_push"
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
#: Seconds that a browser has, when the server ends, to take what it was sent.
PATIENCE = 0.5


class PushASGI:
    """The app, as ASGI servers want it.

    :param app: The Flask app, or one around it.
    :param threads: How many views run at once. Streams take none of them.
    """

    def __init__(self, app: WSGIApplication, threads: int = 10) -> None:
        if not callable(app):
            raise TypeError(
                f"PushASGI takes a Flask app, or one around it, not {app!r:.80}."
            )
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads is a whole number from 1 on, not {threads!r:.80}.")

        def wsgi(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> cabc.Iterable[bytes]:
            environ[HAND_OVER] = environ["asgi.scope"][_KEY]
            return app(environ, start_response)

        self._asgi: t.Any = WSGIMiddleware(t.cast(t.Any, wsgi), workers=threads)
        self._streams = 0
        self._endings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Ending]
        self._endings = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<PushASGI [{self._streams} streams]>"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._asgi(scope, receive, send)
            return
        answer = _Answer(receive, send)
        try:
            asgi_scope = {**scope, _KEY: answer.hand_over}
            # Some servers pass on what no address may have, and a2wsgi would fail on it.
            asgi_scope["query_string"] = _NOT_ASCII.sub(_quote, scope["query_string"])
            await self._asgi(asgi_scope, answer.receive, answer.send)
            if answer.sock is not None:
                self._streams += 1
                try:
                    await answer.forward(answer.sock, self._ending(scope))
                finally:
                    self._streams -= 1
        except OSError:
            # The browser of a stream has left, as servers may say so.
            if answer.sock is None:
                raise
        finally:
            answer.close()

    def _ending(self, scope: Message) -> Ending:
        loop = asyncio.get_running_loop()
        if loop not in self._endings:
            _, port = scope.get("server") or (None, None)
            self._endings[loop] = Ending(loop, None if port is None else str(port))
        return self._endings[loop]


class _Answer:
    """The answer to one request, which may be a stream."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.sock: socket.socket | None = None
        self._receive = receive
        self._send = send
        self._lock = threading.Lock()
        self._closed = False

    def hand_over(self, stream: Stream, adopt: Adopt) -> None:
        """Make it a stream. Called on the view's thread, before its response.

        :raises Exception: Whatever `adopt` raises, and then nothing has happened.
        """
        sock = pair_with(stream, adopt)
        sock.setblocking(False)
        with self._lock:
            self.sock = sock
            if self._closed:
                _close(sock)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self.sock is not None:
                _close(self.sock)

    async def receive(self) -> Message:
        # A coroutine, as a2wsgi wants it. Granian's own is a function.
        return await self._receive()

    async def send(self, message: Message) -> None:
        """What a2wsgi sends, except the end of a body that only now begins."""
        if self.sock is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message["headers"]
                if name.decode("latin-1").lower() not in HOP_BY_HOP
            ]
            await self._send({**message, "headers": kept})

    async def forward(self, sock: socket.socket, ending: Ending) -> None:
        """Forward until the hub ends the stream, the browser leaves, or the server ends."""
        pump = asyncio.create_task(self._pump(sock))
        left = asyncio.create_task(self._left())
        over = asyncio.create_task(ending.wait())
        tasks = {pump, left, over}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if over.done() and not left.done():
                # The hub leaves at this, and what it has sent already is forwarded.
                sock.shutdown(socket.SHUT_RDWR)
                await asyncio.wait({pump, left}, timeout=PATIENCE)
            for task in pump, left:
                if task.done():
                    await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, 65536):
            await self._body(data, more=True)
        await self._body(b"", more=False)

    async def _body(self, data: bytes, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _quote(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # A forked process may have a copy of it.
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
