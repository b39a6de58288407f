"""A Flask app on an ASGI server, where a stream takes no thread.

a2wsgi runs the views on a few threads. A view that answers with a stream ends there as on
any server: its response is final, its session is saved, and its thread is free. The hub
gets one end of a socket pair. From the other end a coroutine forwards to the server, no
faster than the server sends. So a slow browser fills the pair, and falls behind in the hub
like any other. The server notifies the coroutine when a browser disconnects.

A server that stops waits for open requests. So the streams end as soon as the server stops
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

from ._delivery.chunks import NotWhole
from ._delivery.chunks import Unchunker
from ._delivery.stream import Stream
from ._delivery.wire import HOP_BY_HOP
from ._handoff.door import Adopt
from ._handoff.relay import CutOff
from ._handoff.relay import pair_with
from ._handoff.shutdown import Ending
from ._handoff.transplant import HAND_OVER

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

# The key in the scope, which a2wsgi puts into the environ, of the hand-over.
_KEY = "flask_push"
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
#: Seconds, when the server stops, to forward what the hub has sent.
FORWARD_SECONDS = 0.5


class PushASGI:
    """Runs a Flask app on an ASGI server.

    :param app: The Flask app, or a WSGI app around it.
    :param threads: How many views run at once. Streams take no thread.
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
        self._streams: set[_Answer] = set()
        self._endings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Ending]
        self._endings = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<PushASGI [{len(self._streams)} streams]>"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._asgi(scope, receive, send)
            return
        answer = _Answer(receive, send)
        try:
            asgi_scope = {**scope, _KEY: answer.hand_over}
            # Some servers pass bytes that a query can't have, on which a2wsgi would fail.
            asgi_scope["query_string"] = _NOT_ASCII.sub(_quote, scope["query_string"])
            await self._asgi(asgi_scope, answer.receive, answer.send)
            if answer.sock is not None:
                self._streams.add(answer)
                try:
                    await answer.forward(answer.sock, self._ending(scope))
                finally:
                    self._streams.discard(answer)
        except CutOff:
            # The server then cuts the response off, so that its client notices.
            raise
        except OSError:
            # Some servers raise this if the browser of a stream disconnects.
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
        self._chunks: Unchunker | None = None
        self._receive = receive
        self._send = send
        self._lock = threading.Lock()
        self._closed = False

    def hand_over(self, stream: Stream, adopt: Adopt) -> None:
        """Answer with a stream. Called on the view's thread, before its response.

        :raises Exception: Any that `adopt` raises. Then the answer stays as it was.
        """
        sock = pair_with(stream, adopt)
        sock.setblocking(False)
        # The hub sends a plain wire in chunks, and the server makes its own.
        self._chunks = Unchunker() if stream.is_plain else None
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
        # a2wsgi needs a coroutine, and Granian's own receive() is a function.
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Send what a2wsgi sends. Of a stream only the head: its body begins after that."""
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
        """Forward until the hub ends the stream, the browser disconnects, or the server
        stops."""
        pump = asyncio.create_task(self._pump(sock))
        disconnect = asyncio.create_task(self._disconnect())
        stop = asyncio.create_task(ending.wait())
        tasks = {pump, disconnect, stop}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stop.done() and not disconnect.done():
                # The hub ends the stream, and what it has already sent is forwarded.
                sock.shutdown(socket.SHUT_RDWR)
                await asyncio.wait({pump, disconnect}, timeout=FORWARD_SECONDS)
            for task in pump, disconnect:
                if task.done():
                    await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, sock: socket.socket) -> None:
        loop, chunks = asyncio.get_running_loop(), self._chunks
        while data := await loop.sock_recv(sock, 65536):
            if chunks is not None:
                data = _without_chunks(chunks, data)
            if data:
                await self._body(data, more=True)
        if chunks is not None and not chunks.is_whole:
            raise CutOff
        await self._body(b"", more=False)

    async def _body(self, data: bytes, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _without_chunks(chunks: Unchunker, data: bytes) -> bytes:
    try:
        return chunks.feed(data)
    except NotWhole as error:
        raise CutOff from error


def _quote(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # A forked process may hold a copy of the socket.
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
