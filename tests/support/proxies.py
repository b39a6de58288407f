"""A proxy between a broker and its server that can lose and delay bytes."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import select
import socket
import threading
import typing as t

from support.servers import until


class Proxy:
    """Passes bytes between a broker and a server, except some."""

    def __init__(self, port: int) -> None:
        self.server = port
        #: How many of the next replies are dropped, with their connections.
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        self.pairs: dict[socket.socket, socket.socket] = {}
        self.servers: set[socket.socket] = set()
        self.forgotten: list[socket.socket] = []
        self.forgetting = self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @classmethod
    @contextlib.contextmanager
    def started(cls, port: int) -> cabc.Iterator[t.Self]:
        proxy = cls(port)
        try:
            yield proxy
        finally:
            proxy.stopping = True
            proxy.thread.join()
            for sock in [proxy.listener, *proxy.pairs, *proxy.forgotten]:
                sock.close()

    def forget(self) -> None:
        """Pass nothing on any more on the connections that exist, without closing them."""
        self.forgetting = True
        until(lambda: not self.forgetting, what="the proxy has forgotten")

    def run(self) -> None:
        while not self.stopping:
            if self.forgetting:
                self.forgotten += self.pairs
                self.pairs.clear()
                self.forgetting = False
            ready, _, _ = select.select([self.listener, *self.pairs], [], [], 0.05)
            for sock in ready:
                if sock is self.listener:
                    self.accept()
                elif sock in self.pairs:
                    self.hand_on(sock)

    def accept(self) -> None:
        near, _ = self.listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self.server))
        except OSError:
            near.close()
            return
        self.pairs |= {near: far, far: near}
        self.servers.add(far)

    def hand_on(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = sock.recv(65536)
            if data and not (self.cuts and sock in self.servers):
                self.pairs[sock].sendall(data)
                return
            self.cuts -= bool(data)
        other = self.pairs.pop(sock)
        del self.pairs[other]
        sock.close()
        other.close()
