"""The smallest two processes of which one hands connected clients over to the other. Prints
the microseconds that each of them takes for a client.

python hand_over.py CLIENTS
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

# As many bytes as a stream of Flask-Push has: the message, the head and the first bytes.
_MESSAGE, _HEAD = b"x" * 460, b"h" * 315


def main(clients: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        ours.close()
        os.write(write, str(_take(theirs, clients)).encode())
        os._exit(0)
    theirs.close()
    gives = _give(listener, ours, clients)
    takes = float(os.read(read, 100))
    os.waitpid(child, 0)
    print(json.dumps({"gives": gives, "takes": takes}))


def _give(listener: socket.socket, link: socket.socket, clients: int) -> float:
    """What a worker does: the server closes the socket, and the stream stays open."""
    spent = 0.0
    for _ in range(clients):
        client = socket.create_connection(listener.getsockname())
        accepted, _address = listener.accept()
        start = time.process_time()
        left, drain = socket.socketpair()
        drain.shutdown(socket.SHUT_WR)
        socket.send_fds(link, [_MESSAGE], [accepted.fileno()])
        # What the server still writes goes to the drain.
        os.dup2(left.fileno(), accepted.fileno(), inheritable=False)
        left.close()
        drain.close()
        accepted.close()
        spent += time.process_time() - start
        client.recv(4096)
        client.close()
    link.close()
    return 1e6 * spent / clients


def _take(link: socket.socket, clients: int) -> float:
    """What a hub does."""
    loop, streams = select.epoll(), select.epoll()
    loop.register(link, select.EPOLLIN)
    start = time.process_time()
    for _ in range(clients):
        loop.poll()
        _data, (fd,), _flags, _address = socket.recv_fds(link, 65536, 1)
        os.set_blocking(fd, False)
        client = socket.socket(fileno=fd)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 131072)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30000)
        streams.register(fd, select.EPOLLIN | select.EPOLLRDHUP)
        client.send(_HEAD)
        client.close()
    return 1e6 * (time.process_time() - start) / clients


if __name__ == "__main__":
    main(int(sys.argv[1]))
