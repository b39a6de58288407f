"""Where an app's processes meet: the directory of its log, lock and sockets.

It has to be the same for a web server, a cron job and a shell, and so depends on the
app alone, never on the environment or the working directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

# Where a lock, or memory shared between processes, may not be what it seems.
_REMOTE = re.compile(r"nfs|cifs|smb|9p|afs|ceph|gluster|lustre|fuse\.(?!overlay)")
_TEMP = Path("/tmp")


def locate(configured: str | None, instance: str, root: str, name: str) -> Path:
    """The run directory of an app, whether it is there or not.

    :param configured: ``PUSH_RUN_DIR``.
    :param instance: The app's instance folder, which is used if it is local and can be
        written; otherwise a directory of this user's in the system's temporary one.
    """
    if configured is not None:
        return Path(configured)
    label = re.sub(r"[^0-9A-Za-z_.-]", "_", name)
    folder = Path(instance)
    if is_local(folder) and _can_write(folder):
        return folder / f"push-{label}"
    digest = hashlib.sha256(f"{root}\0{name}".encode()).hexdigest()[:16]
    return _TEMP / f"push-{os.geteuid()}-{label}-{digest}"


def claim(path: Path) -> Path:
    """Make a run directory, if it is not there.

    :raises RuntimeError: If it can't be made, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise RuntimeError(
            f"The run directory {path} can't be made: {error}. Set PUSH_RUN_DIR to a"
            " directory on a local disk that the app may write."
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise RuntimeError(f"The run directory {path} is not a directory. Remove it.")
    if found.st_uid != os.geteuid():
        raise RuntimeError(
            f"The run directory {path} belongs to {user_name(found.st_uid)}, and this"
            f" process to {user_name(os.geteuid())}. Run all processes of the app as one"
            " user, or set PUSH_RUN_DIR to a directory of this one."
        )
    return path


def _can_write(folder: Path) -> bool:
    while not folder.exists():
        if folder == folder.parent:
            return False
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def is_local(path: Path) -> bool:
    """Whether the mount that holds the path is of a kind that keeps locks."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return True
    path = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in lines:
        fields = line.split()
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[4])
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), fields[fields.index("-") + 1]
    return _REMOTE.match(kind) is None


def user_name(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)
