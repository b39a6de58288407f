"""What is gone when a process lacks what Windows lacks, and what still works."""

from __future__ import annotations

import asyncio
import builtins
import errno
import importlib
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from support.elsewhere import names
from support.without_linux import real

GONE: dict[str, str] = {
    "os": "fork geteuid getuid register_at_fork fchmod chown O_CLOEXEC O_NOFOLLOW killpg"
    " set_blocking get_blocking mkfifo statvfs sysconf uname sendfile writev WNOHANG",
    "socket": "AF_UNIX SO_PEERCRED SCM_RIGHTS CMSG_SPACE CMSG_LEN TCP_USER_TIMEOUT"
    " SOCK_NONBLOCK SOCK_CLOEXEC MSG_DONTWAIT MSG_NOSIGNAL send_fds recv_fds SO_REUSEPORT",
    "_socket": "AF_UNIX socketpair",
    "select": "epoll poll EPOLLIN POLLIN",
    "signal": "SIGKILL SIGHUP SIGUSR1 SIGCHLD SIGALRM pthread_sigmask setitimer",
    "time": "clock_gettime clock_gettime_ns CLOCK_MONOTONIC CLOCK_BOOTTIME tzset",
    "selectors": "EpollSelector PollSelector",
    "mmap": "MAP_SHARED PROT_READ",
    "asyncio": "open_unix_connection start_unix_server",
}
KEPT: dict[str, str] = {
    "os": "open read write close dup dup2 getpid kill replace waitpid cpu_count link EX_OK"
    " O_BINARY O_NOINHERIT urandom get_inheritable pipe umask",
    "socket": "AF_INET SO_REUSEADDR TCP_NODELAY SO_KEEPALIVE TCP_KEEPIDLE socketpair close",
    "select": "select",
    "signal": "SIGINT SIGTERM signal raise_signal set_wakeup_fd",
    "time": "monotonic monotonic_ns time perf_counter",
    "selectors": "SelectSelector DefaultSelector",
    "mmap": "mmap ACCESS_READ",
}


@pytest.mark.parametrize(("module", "name"), names(GONE))
def test_the_name_is_gone(module: str, name: str) -> None:
    assert not hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("module", "name"), names(KEPT))
def test_the_name_is_kept(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ["fcntl", "resource", "grp", "pwd", "syslog", "termios"])
def test_the_module_can_not_be_imported(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


@pytest.fixture
def sock() -> t.Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize(
    ("name", "args"),
    [
        *(("read", (1,)), ("write", (b"x",)), ("close", ()), ("dup", ()), ("fstat", ())),
        *(("get_inheritable", ()), ("set_inheritable", (True,)), ("dup2", (99,))),
    ],
)
def test_the_number_of_a_socket_is_no_descriptor(
    name: str, args: tuple[t.Any, ...], sock: socket.socket
) -> None:
    with pytest.raises(OSError) as caught:
        getattr(os, name)(sock.fileno(), *args)
    assert caught.value.errno == errno.EBADF


def test_a_socket_can_not_be_opened_as_a_file(sock: socket.socket) -> None:
    with pytest.raises(OSError):
        open(sock.fileno(), "rb", closefd=False)


def test_a_socket_can_be_made_from_its_number() -> None:
    ours, theirs = socket.socketpair()
    again = socket.socket(fileno=theirs.detach())
    ours.sendall(b"x")
    assert again.recv(9) == b"x"
    assert again.get_inheritable() is False
    again.set_inheritable(True)
    copy = again.dup()
    for each in ours, again, copy:
        each.close()


def test_socket_pairs_are_tcp() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ours.family == theirs.family == socket.AF_INET
        theirs.sendall(b"x")
        assert ours.recv(9) == b"x"
    with pytest.raises(OSError):
        socket.socket(int(real.socket.AF_UNIX))


def test_a_datagram_to_a_closed_port_is_an_error_of_the_next_call() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            closed = other.getsockname()
        for call in lambda: sock.recv(9), lambda: sock.sendto(b"y", sock.getsockname()):
            sock.sendto(b"x", closed)
            with pytest.raises(ConnectionResetError):
                call()
        sock.sendto(b"z", sock.getsockname())
        assert sock.recv(9) == b"z"


def test_a_socket_that_listens_can_not_be_shut_down(sock: socket.socket) -> None:
    with pytest.raises(OSError) as raised:
        sock.shutdown(socket.SHUT_RDWR)
    assert raised.value.errno == errno.ENOTCONN
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_RDWR)
        assert theirs.recv(1) == b""


def test_a_datagram_has_to_be_read_whole() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        for _ in range(2):
            sock.sendto(b"four", sock.getsockname())
        with pytest.raises(OSError):
            sock.recv(3)
        assert sock.recv(4) == b"four"


def test_a_socket_sends_no_descriptors(sock: socket.socket) -> None:
    assert not hasattr(sock, "sendmsg")
    assert not hasattr(sock, "recvmsg")


def test_select_takes_sockets_and_at_most_512(sock: socket.socket) -> None:
    assert select.select([sock], [], [], 0) == ([], [], [])
    with pytest.raises(ValueError):
        select.select([sock] * 513, [], [], 0)
    read, write = os.pipe()
    with pytest.raises(OSError):
        select.select([read], [], [], 0)
    with pytest.raises(OSError):
        select.select([], [], [], 0)
    os.close(read)
    os.close(write)


def test_a_selector_tells_which_socket_is_ready() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        assert selector.select(0) == []
        theirs.sendall(b"x")
        assert len(selector.select(5)) == 1


def test_the_default_loop_watches_no_sockets_of_others(sock: socket.socket) -> None:
    async def watch() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError):
            loop.add_reader(sock, print)
        with pytest.raises(NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, print)

    asyncio.run(watch())


def test_a_selector_loop_watches_sockets() -> None:
    async def watch() -> bytes:
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, print)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ready = asyncio.Event()
            loop.add_reader(ours, ready.set)
            theirs.sendall(b"x")
            await ready.wait()
            loop.remove_reader(ours)
            return ours.recv(9)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(watch()) == b"x"


def test_both_loops_connect_and_wait() -> None:
    async def talk() -> bytes:
        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1")
        async with server:
            where = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*where)
            writer.write(b"x\n")
            await asyncio.sleep(0.001)
            found = await reader.read()
            writer.close()
            await writer.wait_closed()
            return found

    assert asyncio.run(talk()) == b"x\n"
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(talk()) == b"x\n"


@pytest.mark.parametrize("path", ["/proc", "/proc/self/fd", "/dev/fd", "/dev/shm", "/sys"])
def test_the_path_is_gone(path: str) -> None:
    assert not os.path.exists(path)
    assert not Path(path).exists()
    assert not os.access(path, os.R_OK)
    for look in os.stat, os.listdir, os.scandir, builtins.open, Path.read_bytes:
        with pytest.raises(FileNotFoundError):
            look(Path(path))


def test_a_file_that_is_open_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("w"):
        for act in path.unlink, lambda: path.rename(tmp_path / "b"):
            with pytest.raises(PermissionError):
                act()
        with pytest.raises(PermissionError):
            os.rename(tmp_path, f"{tmp_path}-2")
        other = tmp_path / "c"
        other.touch()
        with pytest.raises(PermissionError):
            other.replace(path)
    with pytest.raises(FileExistsError):
        other.rename(path)
    other.replace(path)
    path.unlink()


def test_files_have_no_owner_and_no_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    assert path.stat().st_mode & 0o777 == 0o666
    assert tmp_path.stat().st_mode & 0o777 == 0o777
    assert path.stat().st_uid == 0
    for name in "st_ino", "st_dev", "st_size", "st_mtime", "st_mtime_ns", "st_ctime":
        assert getattr(path.stat(), name) == getattr(real.os.stat(path), name)
    path.chmod(0o400)
    assert path.stat().st_mode & 0o777 == 0o444
    with pytest.raises(PermissionError):
        os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError):
        (tmp_path / "link").symlink_to(path)


def test_some_names_are_refused(tmp_path: Path) -> None:
    for name in "a:b", "a?", "a*", "a|b", 'a"':
        with pytest.raises(OSError):
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(OSError):
            (tmp_path / name).mkdir()


def test_text_is_that_of_western_europe_with_long_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("ä\n")
    assert path.read_bytes() == b"\xe4\r\n"
    assert path.read_text() == "ä\n"
    with pytest.raises(UnicodeEncodeError):
        path.write_text("日本")
    path.write_text("日本\n", encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8") == "日本\n"


def test_a_lock_of_bytes_is_of_one_opening_and_ends_with_it(tmp_path: Path) -> None:
    msvcrt: t.Any = importlib.import_module("msvcrt")
    path = tmp_path / "a"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    msvcrt.locking(first, msvcrt.LK_NBLCK, 1)
    with pytest.raises(PermissionError):
        msvcrt.locking(second, msvcrt.LK_NBLCK, 1)
    msvcrt.locking(first, msvcrt.LK_UNLCK, 1)
    msvcrt.locking(second, msvcrt.LK_NBLCK, 1)
    os.close(second)
    msvcrt.locking(first, msvcrt.LK_NBLCK, 1)
    os.close(first)


def test_a_signal_to_another_process_ends_it() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(OSError):
        os.kill(os.getpid(), 0)
    for end in (
        lambda process: os.kill(process.pid, signal.SIGINT),
        lambda process: process.terminate(),
        lambda process: process.kill(),
    ):
        with subprocess.Popen(sleep) as process:
            end(process)
            assert process.wait(20) == -9
    with pytest.raises(ValueError):
        signal.signal(1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def test_children_lack_the_same() -> None:
    code = "import os, sys; print(hasattr(os, 'fork'), input())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="x", text=True, capture_output=True, timeout=20)
    assert (done.stdout, done.stderr) == ("False x\n", "")
    with pytest.raises(ValueError):
        subprocess.run(command, preexec_fn=print)


def test_temporary_files_and_directories_can_be_used() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "a").touch()
    assert not os.path.exists(directory)


def test_the_clock_ticks_64_times_a_second_before_python_3_13() -> None:
    is_coarse = time.get_clock_info("monotonic").resolution == 1 / 64
    assert is_coarse == (sys.version_info < (3, 13))
    if is_coarse:
        assert (time.monotonic() * 64).is_integer()
