"""Examines the app's configuration and its machine, without a stream.

It creates nothing, and opens no file of another user: the app could not use a directory
that the doctor creates as root.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import stat
import sys
import typing as t
from importlib import metadata
from pathlib import Path

from .._config import Config
from .._event import Position
from .._ipc.files import HubFiles
from .._ipc.status import status_of
from .._ipc.version import version
from .._system.descriptors import limit_of
from .._system.descriptors import reserve
from .._system.rundir import is_local
from .._system.users import current_user
from .._system.users import group_may_write
from .._system.users import group_name
from .._system.users import others_may_write
from .._system.users import user_name
from ..brokers import Broker
from ..brokers import open_broker
from ..brokers._urls import hide_password
from .finding import Finding
from .finding import Findings
from .finding import ok
from .finding import problem

# Seconds of silence after which the first known proxy closes a connection (Heroku).
_PROXY_TIMEOUT = 55
# Descriptors that a hub should have for files and connections that are not streams.
_OTHER_DESCRIPTORS = 256


class AppFacts(t.NamedTuple):
    """What the doctor has to know of the app to examine one of its streams."""

    #: Publishes to the app's store; ``None`` if this process can't.
    broker: Broker | None
    heartbeat: float
    #: Whether the app compresses its streams.
    gzip: bool
    #: The log of the hub process; ``None`` if the hub is a thread.
    log: Path | None
    #: Asks the hub for its status. The answer is empty if no hub answers.
    status: cabc.Callable[[], dict[str, t.Any]]


class AppCheckup:
    """
    :param url: The URL of the store.
    :param kind: What the hub is: ``process``, ``thread``, or the path of its socket.
    :param development: Why the hub is a thread, if only because the system lacks something.
    :param directory: The run directory. It may not exist yet.
    :param doubts: Reasons why events may not reach all processes of the app.
    """

    def __init__(
        self,
        config: Config,
        *,
        testing: bool,
        url: str,
        kind: str,
        development: str,
        directory: Path,
        doubts: cabc.Sequence[str],
        all_files: cabc.Sequence[HubFiles],
    ) -> None:
        self.config, self.testing = config, testing
        self.url, self.kind = url, kind
        self.directory, self.all_files = directory, all_files
        self._development = development
        self._doubts = doubts
        self._usable = True
        self._broker: Broker | None = None

    def examine(self) -> Findings:
        yield _versions()
        if self.testing:
            yield problem("testing")
        if self.url == "sqlite:" or self.kind == "process":
            yield from self._check_directory()
        yield from self._check_store()
        yield from self._check_hub()
        if self.config.heartbeat > _PROXY_TIMEOUT:
            yield problem("heartbeat", seconds=self.config.heartbeat)

    def facts(self) -> AppFacts:
        log = None if self.kind == "thread" else self.all_files[0].log
        heartbeat, gzip = self.config.heartbeat, self.config.gzip
        return AppFacts(self._broker, heartbeat, gzip, log, self._status_of_all)

    def close(self) -> None:
        if self._broker is not None:
            self._broker.close()

    # The run directory.

    def _check_directory(self) -> Findings:
        found = list(self._directory_problems(self.directory))
        self._usable = not any(finding.level == "error" for finding in found)
        yield from found
        for doubt in self._doubts:
            yield problem("apart", doubt=doubt)
        if self._usable:
            there = "" if self.directory.exists() else ", made when it is needed"
            yield ok("directory", f"{self.directory}{there}.")

    def _directory_problems(self, path: Path) -> Findings:
        try:
            found = path.lstat()
        except FileNotFoundError:
            parent = next(p for p in path.parents if p.exists())
            if not os.access(parent, os.W_OK | os.X_OK):
                yield problem("directory", path=path, error=f"{parent} can't be written")
            return
        except OSError as error:
            yield problem("directory", path=path, error=error.strerror)
            return
        if not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
            yield problem("directory", path=path, error=f"it is {what}")
            return
        if foreign := list(_owners(path)):
            yield from foreign
            return
        if not is_local(path):
            yield problem("remote", path=path)
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        if others_may_write(found):
            yield problem("open", path=path, mode=mode)
        elif group_may_write(found):
            yield problem("group", path=path, mode=mode, group=group_name(found.st_gid))

    # The store.

    def _check_store(self) -> Findings:
        if self.url == "memory:":
            yield problem("memory")
            return
        if self.url == "sqlite:" and not self._usable:
            return
        try:
            yield from self._open_store()
        # A broker from another package may raise any exception.
        except Exception as error:
            url = hide_password(self.url)
            text = str(error).replace(self.url, url) or type(error).__name__
            yield problem("store", url=url, error=text)

    def _open_store(self) -> Findings:
        broker = open_broker(self.url, self.directory, timeout=self.config.publish_timeout)
        path: Path | None = getattr(broker, "path", None)
        if path is not None:
            foreign = list(_owners(path if path.exists() else path.parent))
            if foreign:
                yield from foreign
                return
            if not path.exists():
                self._broker = broker
                yield ok("store", f"{broker.url}, made when it is needed.")
                return
        page = broker.read([], after=0)
        self._broker = broker
        yield ok("store", f"{hide_password(broker.url)}, epoch {page.epoch}.")

    # The hub.

    def _check_hub(self) -> Findings:
        if self._development:
            yield problem("development", reason=self._development)
            return
        if self.kind == "thread":
            yield problem("thread")
            yield from self._check_limit("a worker", os.getpid())
            return
        if self.kind == "process" and not self._usable:
            return
        for number, files in enumerate(self.all_files):
            if number and not files.is_open():
                continue
            try:
                status = status_of(files)
            except PermissionError as error:
                # An error of the system does not name the path.
                text = f"{files.sock}: {error.strerror}." if error.errno else error
                yield problem("stranger", error=text, name=_owner_of(files))
            except OSError as error:
                yield from self._explain_no_hub(files, error)
            else:
                yield from self._judge_hub(status)

    def _explain_no_hub(self, files: HubFiles, error: OSError) -> Findings:
        why = error.strerror or error
        if files.is_locked():
            yield problem("stuck", path=files.lock, error=why)
        elif self.kind != "process":
            yield problem("no-hub", path=files.sock, error=why)
        else:
            yield ok("hub", "No hub runs. The first stream starts one.")
            yield from self._check_limit("a hub", os.getpid())

    def _judge_hub(self, status: dict[str, t.Any]) -> Findings:
        pid, of, streams = (status.get(name, 0) for name in ("pid", "version", "streams"))
        yield ok("hub", f"Process {pid}, version {of}, {streams} streams.")
        if of != version():
            yield problem("version", hub=of, here=version())
        yield from self._check_users(status)
        yield from self._check_limit("the hub", pid)

    def _check_users(self, status: dict[str, t.Any]) -> Findings:
        """Whether some streams have a user and others don't. A hub of an older version
        does not count them."""
        users, without = status.get("with_user", 0), status.get("without_user", 0)
        if self.config.disconnect and users and without:
            yield problem("without-user", streams=users + without, without=without)

    def _check_limit(self, whose: str, pid: int) -> Findings:
        limit, streams = limit_of(pid), self.config.options.max_streams
        possible = limit - reserve(limit)
        if streams > possible:
            yield problem(
                "descriptors",
                whose=whose,
                streams=streams,
                limit=limit,
                wanted=streams + _OTHER_DESCRIPTORS,
                possible=max(1, possible),
            )
        else:
            yield ok("limits", f"{streams} streams at most, of {limit} descriptors.")

    def _status_of_all(self) -> dict[str, t.Any]:
        """How many streams all hubs hold, and the lowest position of a hub. Empty if no
        hub answers."""
        found = []
        for files in self.all_files:
            with contextlib.suppress(OSError):
                found.append(status_of(files))
        if not found:
            return {}
        streams = sum(status.get("streams", 0) for status in found)
        positions = [Position.parse(status.get("position", "")) for status in found]
        return {
            "streams": streams,
            "position": str(min(filter(_known, positions), default="")),
        }


def _known(position: Position) -> bool:
    return bool(position.epoch)


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    flask = metadata.version("flask")
    return ok("versions", f"Flask-Push {version()}, Flask {flask}, Python {python}.")


def _owners(path: Path) -> Findings:
    """A problem if the path belongs to another user: even root would leave files of its own
    there. A volume that root owns is fine if this user may write to it."""
    found = path.stat().st_uid if path.exists() else current_user()
    if found != current_user() and (found or not os.access(path, os.W_OK)):
        owner, user = user_name(found), user_name(current_user())
        name = owner.partition(" ")[0]
        yield problem("owner", path=path, owner=owner, user=user, name=name)


def _owner_of(files: HubFiles) -> str:
    try:
        return user_name(files.sock.stat().st_uid).partition(" ")[0]
    except OSError:
        return "…"
