"""What is gone when a process lacks what macOS lacks, and what still works."""

from __future__ import annotations

import asyncio
import builtins
import errno
import importlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
from support.elsewhere import names

GONE: dict[str, str] = {
    "os": "memfd_create pidfd_open eventfd posix_fadvise pipe2 copy_file_range O_TMPFILE"
    " O_PATH sched_getaffinity getrandom getresuid splice",
    "socket": "SO_PEERCRED TCP_USER_TIMEOUT SOCK_NONBLOCK SOCK_CLOEXEC MSG_CMSG_CLOEXEC"
    " SO_PASSCRED TCP_KEEPIDLE TCP_QUICKACK AF_NETLINK",
    "_socket": "SO_PEERCRED SOCK_CLOEXEC",
    "select": "epoll EPOLLIN POLLRDHUP",
    "signal": "sigtimedwait SIGRTMIN pidfd_send_signal",
    "time": "CLOCK_BOOTTIME",
    "selectors": "EpollSelector",
    "resource": "prlimit RUSAGE_THREAD",
    "fcntl": "F_GETPIPE_SZ F_ADD_SEALS",
}
KEPT: dict[str, str] = {
    "os": "fork geteuid register_at_fork set_blocking O_CLOEXEC O_NOFOLLOW killpg",
    "socket": "AF_UNIX SCM_RIGHTS send_fds TCP_KEEPALIVE socketpair MSG_DONTWAIT",
    "select": "poll select",
    "signal": "SIGKILL SIGUSR1 pthread_sigmask",
    "time": "clock_gettime_ns CLOCK_MONOTONIC",
    "fcntl": "flock lockf F_DUPFD_CLOEXEC",
    "resource": "getrlimit RLIMIT_NOFILE",
    "pwd": "getpwuid",
}


#: Its name there, which types of Linux don't know.
KEEP_ALIVE = "TCP_KEEPALIVE"


@pytest.mark.parametrize(("module", "name"), names(GONE))
def test_the_name_is_gone(module: str, name: str) -> None:
    assert not hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("module", "name"), names(KEPT))
def test_the_name_is_kept(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", ["/proc", "/proc/self/fd", "/dev/shm", "/sys"])
def test_the_path_is_gone(path: str) -> None:
    assert not os.path.exists(path)
    assert not Path(path).exists()
    assert not os.access(path, os.R_OK)
    for look in os.stat, os.listdir, os.scandir, builtins.open, Path.read_bytes:
        with pytest.raises(FileNotFoundError):
            look(Path(path))
    assert os.listdir("/dev/fd")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_unix_sockets_have_paths_of_103_bytes_and_no_abstract_names(
    kind: socket.SocketKind, tmp_path: Path
) -> None:
    short = tempfile.mkdtemp(dir="/tmp")
    longest = f"{short}/{'x' * (102 - len(short))}"
    with socket.socket(socket.AF_UNIX, kind) as sock:
        for act in sock.bind, sock.connect, sock.connect_ex:
            with pytest.raises(OSError, match="too long"):
                act(f"{longest}x")
            with pytest.raises(FileNotFoundError):
                act("\0name")
        with pytest.raises(FileNotFoundError):
            sock.sendto(b"x", "\0name")
        sock.bind(longest)
        assert sock.getsockname() == longest
    os.unlink(longest)
    os.rmdir(short)


def test_a_unix_socket_that_takes_no_more_datagrams_has_an_error_of_its_own() -> None:
    directory = tempfile.mkdtemp(dir="/tmp")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(f"{directory}/full")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with pytest.raises(OSError) as caught:
                for _ in range(10_000):
                    sender.sendto(b"x", f"{directory}/full")
            assert caught.value.errno == errno.ENOBUFS
    os.unlink(f"{directory}/full")
    os.rmdir(directory)


def test_a_pair_of_sockets_holds_little() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ours.family == socket.AF_UNIX
        ours.setblocking(False)
        assert ours.send(bytes(2**20)) < 2**16


def test_a_socket_of_the_network_is_as_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, KEEP_ALIVE), 60)
            sock.sendall(b"x")
            found, _ = server.accept()
            with found:
                assert found.recv(9) == b"x"


def test_the_default_loop_watches_sockets() -> None:
    async def watch() -> bytes:
        loop = asyncio.get_running_loop()
        assert isinstance(t.cast(t.Any, loop)._selector, selectors.PollSelector)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ready = asyncio.Event()
            loop.add_reader(ours, ready.set)
            theirs.sendall(b"x")
            await ready.wait()
            loop.remove_reader(ours)
            return ours.recv(9)

    assert asyncio.run(watch()) == b"x"


def test_children_lack_the_same() -> None:
    code = "import select, sys; print(hasattr(select, 'epoll'), input())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="x", text=True, capture_output=True, timeout=20)
    assert (done.stdout, done.stderr) == ("False x\n", "")
