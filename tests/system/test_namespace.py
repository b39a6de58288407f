"""The PID namespace of this process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from support.containers import namespaces

from flask_push._system import sockets
from flask_push._system.namespace import namespace
from flask_push._system.namespace import sockets_of

MAIN = (
    "from flask_push._system import namespace as n; print(n.main_process(), n.namespace())"
)

in_container = pytest.mark.skipif(
    not namespaces(network=False), reason="this user may make no PID namespaces"
)


def printed(*before: str, code: str = MAIN) -> list[str]:
    command = [*namespaces(network=False), *before, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


@in_container
def test_the_first_process_of_a_container_is_its_main_one() -> None:
    main, inside = printed()
    assert main == "1"
    assert inside != str(namespace())


@in_container
def test_behind_an_init_the_main_process_is_the_one_that_it_has_started() -> None:
    main, _ = printed("tini", "--")
    assert int(main) > 1
    # It is the first one also if another has become an orphan.
    code = (
        "import os\nif os.fork() == 0:\n    if os.fork() == 0: import time; time.sleep(9)"
    )
    code += f"\n    os._exit(0)\nos.wait(); print(os.getpid()); {MAIN}"
    pid, main, _ = printed("tini", "--", code=code)
    assert main == pid


def test_the_sockets_of_a_process_are_known_by_what_identifies_them() -> None:
    with socket.socket() as sock:
        assert sockets.identity(sock.fileno()) in sockets_of(os.getpid())
        with open(os.devnull) as file:
            assert sockets.identity(file.fileno()) is None
    assert sockets_of(2**22 + 1) == set()


def test_only_a_socket_that_listens_is_found_to_listen() -> None:
    with socket.socket() as sock, open(os.devnull) as file:
        assert not sockets.is_listening(sock.fileno())
        assert not sockets.is_listening(file.fileno())
        sock.listen()
        assert sockets.is_listening(sock.fileno())
