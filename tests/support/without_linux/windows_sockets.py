"""Sockets whose numbers are no descriptors, and ``select`` of at most 512."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import typing as t

from . import real
from .taking import replace

#: How many sockets ``select`` takes in one list.
FD_SETSIZE = 512

_AF_UNIX = int(real.socket.AF_UNIX)


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(real.os.fstat(fd).st_mode)
    except OSError:
        return False


def _of_files(name: str) -> None:
    function = getattr(os, name)

    def checked(fd: int, *args: t.Any, **options: t.Any) -> t.Any:
        refuse_socket(fd)
        return function(fd, *args, **options)

    replace(name, checked)


def refuse_socket(fd: t.Any) -> None:
    if isinstance(fd, int) and is_socket(fd):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


#: Functions of descriptors. To those of Windows a socket's number means nothing.
FUNCTIONS = (
    *("read", "write", "close", "dup", "dup2", "fstat", "isatty", "lseek", "fsync"),
    *("get_inheritable", "set_inheritable", "ftruncate", "fdopen"),
)


def socketpair(
    family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0
) -> tuple[socket.socket, socket.socket]:
    """Two sockets that are connected over the loopback, as the standard library has it for
    systems without ``socketpair``."""
    if family != socket.AF_INET or type != socket.SOCK_STREAM or proto != 0:
        raise ValueError("Only AF_INET, SOCK_STREAM and protocol zero are supported")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = socket.socket()
        try:
            ours.connect(listener.getsockname())
            theirs, _ = listener.accept()
        except BaseException:
            ours.close()
            raise
    return theirs, ours


class _Missing:
    """A method that the class above has."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, sock: object, owner: type | None = None) -> t.Any:
        raise AttributeError(f"'socket' object has no attribute {self._name!r}")


def _initialize(
    self: socket.socket,
    family: int = -1,
    type: int = -1,
    proto: int = -1,
    fileno: int | None = None,
) -> None:
    if family == _AF_UNIX:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    _init(self, family, type, proto, fileno)
    if fileno is None and self.type == socket.SOCK_DGRAM:
        self.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


_init = socket.socket.__init__
_IP_RECVERR = 11


def _noticing_closed_ports(name: str) -> t.Any:
    """An earlier datagram to a port that is closed is an error of a later call."""
    method = getattr(socket.socket, name)

    def notice(self: socket.socket, *args: t.Any) -> t.Any:
        try:
            return method(self, *args)
        except ConnectionRefusedError:
            if self.type != socket.SOCK_DGRAM:
                raise
            text = os.strerror(errno.ECONNRESET)
            raise ConnectionResetError(errno.ECONNRESET, text) from None

    return notice


def _shutdown(self: socket.socket, how: int) -> None:
    """A socket that listens is not connected, and so it can't be shut down."""
    if self.type == socket.SOCK_STREAM:
        if self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    _real_shutdown(self, how)


_real_shutdown = socket.socket.shutdown


def _receiving_whole(receive: t.Any) -> t.Any:
    """A datagram that is larger than what is asked for is an error."""

    def receive_whole(self: socket.socket, size: int, flags: int = 0) -> t.Any:
        if self.type != socket.SOCK_DGRAM:
            return receive(self, size, flags)
        data = receive(self, size + 1, flags)
        if len(data) > size:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return data

    return receive_whole


def limited_select(
    readers: t.Any, writers: t.Any, others: t.Any, timeout: float | None = None
) -> t.Any:
    lists = [list(each) for each in (readers, writers, others)]
    if not any(lists):
        raise OSError(errno.EINVAL, "An invalid argument was supplied")
    for each in lists:
        if len(each) > FD_SETSIZE:
            raise ValueError("too many file descriptors in select()")
        for fd in each:
            if not is_socket(fd if isinstance(fd, int) else fd.fileno()):
                raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return real.select.select(*lists, timeout)


def pretend() -> None:
    import _socket

    for name in FUNCTIONS:
        if hasattr(os, name):
            _of_files(name)
    del _socket.socketpair
    socket.socketpair = socketpair  # type: ignore[assignment]
    for name in "sendmsg", "recvmsg", "recvmsg_into", "sendmsg_afalg":
        missing = _Missing()
        missing.__set_name__(socket.socket, name)
        setattr(socket.socket, name, missing)
    socket.socket.__init__ = _initialize  # type: ignore[method-assign]
    for name in "recv", "recv_into", "recvfrom", "recvfrom_into", "send", "sendto":
        setattr(socket.socket, name, _noticing_closed_ports(name))
    methods: t.Any = socket.socket
    methods.shutdown = _shutdown
    methods.recv = _receiving_whole(methods.recv)
    # There these are of handles.
    methods.get_inheritable = lambda self: real.os.get_inheritable(self.fileno())
    methods.set_inheritable = lambda self, whether: real.os.set_inheritable(
        self.fileno(), whether
    )
    select.select = limited_select
