"""What the other process does with the sockets of a hub's readers."""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios


def discard(socks: list[socket.socket]) -> None:
    poll = select.epoll()
    by_number = {sock.fileno(): sock for sock in socks}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            by_number[number].recv(2**18)


def unread(sock: socket.socket) -> int:
    """The number of bytes that the reading process has not read yet."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)
