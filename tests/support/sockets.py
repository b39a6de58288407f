"""The state of a socket, and text to send."""

from __future__ import annotations

import base64
import os
import socket

from support.without_linux.real import descriptor_numbers


def noise(size: int) -> str:
    """Text that compresses badly."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def can_read(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def is_open(fd: int) -> bool:
    return str(fd) in descriptor_numbers()


def read_until(sock: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received
