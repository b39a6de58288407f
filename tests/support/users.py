"""Other users of the machine."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

#: Two users other than the one that runs the tests.
SOMEONE, ANOTHER = 65534, 40002


def as_user(
    uid: int, function: cabc.Callable[[], object], groups: cabc.Sequence[int] = ()
) -> str:
    """What a function returns or raises in a process of this user. Needs root."""
    with tempfile.TemporaryFile() as found:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups(groups)
                os.setgid(uid)
                os.setuid(uid)
                os.write(found.fileno(), str(function()).encode())
            except BaseException as error:
                os.write(found.fileno(), f"{type(error).__name__}: {error}".encode())
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        found.seek(0)
        return found.read().decode()


def give(path: Path, uid: int, gid: int = -1) -> None:
    os.chown(path, uid, gid, follow_symlinks=False)


def is_root() -> bool:
    return os.geteuid() == 0


def for_every_user() -> list[str]:
    """A prefix for a command that root runs as another user, who can then read the Python
    in the home of root. The user may read everything, but do no more."""
    with contextlib.suppress(PermissionError):
        if subprocess.run([sys.executable, "-c", ""], user=SOMEONE).returncode == 0:
            return []
    read = "-all,+dac_read_search"
    return [
        *("setpriv", f"--inh-caps={read}", f"--ambient-caps={read}"),
        "--securebits=+no_setuid_fixup",
        f"--bounding-set={read},+setuid,+setgid,+chown,+kill",
    ]
