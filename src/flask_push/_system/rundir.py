"""Where an app's processes meet: the directory of its log, lock and sockets.

It has to be the same for a web server, a cron job and a shell, and so depends on the
app alone, never on the environment or the working directory. Other users of the machine
must not be able to change what is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from .users import current_user
from .users import HAVE_NUMBERS
from .users import others_may_write
from .users import user_name

# Where a lock, or memory shared between processes, may not be what it seems.
_REMOTE = re.compile(r"nfs|cifs|smb|9p|afs|ceph|gluster|lustre|fuse\.(?!overlay)")
#: Where directories are whose names have to be the same for every process. Without users
#: by number, each user has a temporary directory.
TEMP = Path("/tmp") if HAVE_NUMBERS else Path(tempfile.gettempdir())


def locate(configured: str | None, instance: str, root: str, name: str) -> Path:
    """The run directory of an app, whether it is there or not. Makes nothing.

    :param configured: ``PUSH_RUN_DIR``.
    :param instance: The app's instance folder, which is used if it is local and can be
        written, or has the directory of this user already; otherwise a directory of this
        user's in the system's temporary one.
    """
    if configured is not None:
        return Path(configured)
    folder = Path(instance)
    path = folder / f"push-{_label(name)}"
    if is_local(folder) and (_can_write(folder) or _owner(path) == current_user()):
        return path
    return TEMP / f"push-{current_user()}-{_mark(root, name)}"


def others(instance: str, root: str, name: str) -> dict[Path, int]:
    """All run directories of an app that are there, but for a configured one, and the user
    that each belongs to."""
    mark = re.escape(_mark(root, name))
    paths = [Path(instance) / f"push-{_label(name)}"]
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(TEMP))
        paths += [TEMP / name for name in names if re.fullmatch(rf"push-\d+-{mark}", name)]
    owners = {path: _owner(path) for path in paths}
    return {path: owner for path, owner in owners.items() if owner is not None}


def claim(path: Path) -> Path:
    """Make a run directory, if it is not there, and check that it is fit to be one.

    :raises RuntimeError: If it can't be made, or other users could change what is in it.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        found = path.lstat()
    except OSError as error:
        raise RuntimeError(
            f"The run directory {path} can't be made: {error}. Set PUSH_RUN_DIR to a"
            " directory on a local disk that the app may write."
        ) from error
    if problem := unfit(path, found):
        raise RuntimeError(problem)
    return path


def unfit(path: Path, found: os.stat_result) -> str:
    """Why it can't be the run directory of this user, and the remedy; empty if it can.

    One that belongs to root will do where this user may write to it, as a volume that is
    mounted for a group: root could change everything anyway.
    """
    user, writable = current_user(), os.access(path, os.W_OK | os.X_OK)
    if stat.S_ISLNK(found.st_mode):
        return (
            f"The run directory {path} is a symbolic link. Set PUSH_RUN_DIR to the"
            f" directory that it leads to, {os.path.realpath(path)}, or remove the link."
        )
    if not stat.S_ISDIR(found.st_mode):
        return f"The run directory {path} is not a directory. Remove it."
    if found.st_uid not in (user, 0) or (found.st_uid != user and not writable):
        name = user_name(user).partition(" ")[0]
        return (
            f"The run directory {path} belongs to {user_name(found.st_uid)}, and this"
            f" process to {user_name(user)}. Run all processes of the app as one user,"
            f" give it to this one ('chown -R {name} {path}'), or set PUSH_RUN_DIR to"
            " another directory."
        )
    if others_may_write(found):
        cure = f"Run 'chmod o-w {path}'."
        if found.st_uid != user:
            cure = f"Set PUSH_RUN_DIR to {path / 'push'}, which the app makes for itself."
        return (
            f"Every user of the machine may write to the run directory {path}, whose mode"
            f" is {stat.S_IMODE(found.st_mode):o}, and could replace the files of the app"
            f" in it. {cure}"
        )
    if not writable:
        return (
            f"The run directory {path} can't be written by this process. Run"
            f" 'chmod u+rwx {path}', or set PUSH_RUN_DIR to another directory."
        )
    return ""


def _label(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z_.-]", "_", name)


def _mark(root: str, name: str) -> str:
    """How the app's directories in the temporary one end, whichever user's they are."""
    digest = hashlib.sha256(f"{root}\0{name}".encode()).hexdigest()[:16]
    return f"{_label(name)}-{digest}"


def _owner(path: Path) -> int | None:
    """Whose directory it is. None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_uid if stat.S_ISDIR(found.st_mode) else None


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
