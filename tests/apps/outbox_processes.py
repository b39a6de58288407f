"""Forks processes of an app with an outbox: each is killed soon, and starting Python takes
longer than that. A line says which, and the answer is the number of the process."""

from __future__ import annotations

import os
import signal
import sys
import typing as t

import flask.cli

from apps.outboxed import make_tables
from apps.outboxed import Writer


def run(kind: str, name: str, pause: str) -> t.NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        if kind == "write":
            Writer(name, float(pause)).run()
        sys.argv = ["flask", "--app", "apps.outboxed", "push", "relay"]
        flask.cli.main()
    except SystemExit as error:
        os._exit(int(error.code or 0))
    finally:
        sys.excepthook(*sys.exc_info())
        os._exit(70)


def main() -> None:
    make_tables()
    # The kernel forgets children that have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            run(*line.split())
        print(pid, flush=True)


if __name__ == "__main__":
    main()
