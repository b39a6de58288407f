"""What the scripts in a Redis do."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import socket

from support.redises import Redis


@contextlib.contextmanager
def monitor(redis: Redis) -> cabc.Iterator[list[tuple[bool, list[str]]]]:
    """In the end, all that was done meanwhile, and whether a script did it."""
    done: list[tuple[bool, list[str]]] = []
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as file:
        sock.connect(str(redis.socket))
        sock.sendall(b"MONITOR\r\n")
        file.readline()
        yield done
        redis.do("ECHO", "all")
        while not done or done[-1][1] != ["ECHO", "all"]:
            line = file.readline().decode()
            words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            done.append(("lua]" in line.partition('"')[0], words))


def touched(done: list[tuple[bool, list[str]]]) -> set[str]:
    """The commands that scripts called.

    :raises AssertionError: If one used a key that the script's caller had not named.
    """
    named: set[str] = set()
    touched = set()
    for by_script, words in done:
        if words[0].startswith("EVAL"):
            named = set(words[3 : 3 + int(words[2])])
        elif by_script and words[0] not in ("TIME", "INFO"):
            assert words[1] in named, words
            touched.add(words[0])
    return touched
