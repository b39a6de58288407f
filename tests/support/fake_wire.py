"""Runs push.js in Node, with the fakes of ``tests/clients/fakes.mjs``."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

from support.servers import ROOT
from support.servers import TESTS

NODE = Path(sys.executable).parent / "node"
STATIC = ROOT / "src" / "flask_push" / "static"


def run(script: str, *args: object, **scripts: Path) -> tuple[int, str]:
    """Run a script with the fakes, and with the scripts that are served or other ones.

    :param scripts: The paths of those that are not served: ``push``, ``items``.
    """
    others = {f"{name.upper()}_JS": str(path) for name, path in scripts.items()}
    command = [str(NODE), str(TESTS / "clients" / script), *map(str, args)]
    env = {**os.environ, **others}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def cases(script: str) -> list[str]:
    _, said = run(script)
    return said.split()


class Mutant(t.NamedTuple):
    """A safeguard that is removed, and the arguments of the run that then fails."""

    safeguard: str
    old: str
    new: str
    noticed: str
    #: The script that has the safeguard.
    name: str = "push"


def is_noticed(mutant: Mutant, script: str, directory: Path) -> None:
    source = (STATIC / f"{mutant.name}.js").read_text()
    assert source.count(mutant.old) == 1
    path = directory / f"{mutant.name}.js"
    path.write_text(source.replace(mutant.old, mutant.new))
    status, said = run(script, *mutant.noticed.split(), **{mutant.name: path})
    assert status != 0 and "\nSyntaxError" not in said, said
