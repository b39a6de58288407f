"""The state of a socket, and text to send."""

from __future__ import annotations

import base64
import os
import socket

from support.without_linux import real


def noise(size: int) -> str:
    """Text that compresses badly."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def can_read(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def is_open(fd: int) -> bool:
    try:
        real.os.fstat(fd)
    except OSError:
        return False
    return True


def read_until(sock: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received
