"""Finds the run directory of an app: the same for all its processes, however each starts.

Flask gives a file that is run as a script the name ``__main__``, and looks for its instance
folder in the working directory. So this module gives a script the name under which another
process would import it. If it can't find that name, it logs a warning that other processes
may have another directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import typing as t
from pathlib import Path

from flask import Flask

from ._config import Config
from ._ipc.files import HubFiles
from ._system.inodes import open_own
from ._system.rundir import locate
from ._system.rundir import others
from ._system.users import current_user
from ._system.users import user_name

logger = logging.getLogger("flask_push")

# This file holds the name of the first app that used the run directory.
_NAME = "app"
# Python's name for the file that it runs, and that of multiprocessing in a child.
_SCRIPTS = "__main__", "__mp_main__"


class Place(t.NamedTuple):
    """What the path of an app's run directory is made of."""

    name: str
    root: str
    instance: str
    #: Whether these paths are the same in each working directory.
    instance_known: bool = True
    root_known: bool = True

    @classmethod
    def of(cls, app: Flask) -> Place:
        automatic = app.instance_path == app.auto_find_instance_path()
        found = cls(app.name, app.root_path, app.instance_path)
        if app.import_name not in _SCRIPTS:
            if _is_module(app.import_name):
                return found
        elif script := _as_imported(app.import_name):
            name, top = script
            instance = _instance(name, top) if automatic else app.instance_path
            return found._replace(name=name, instance=instance)
        return found._replace(
            instance_known=not automatic, root_known=app.root_path != os.getcwd()
        )

    def directory(self, config: Config) -> Path:
        """The run directory. It may not exist yet."""
        return locate(config.run_dir, self.instance, self.root, self.name)

    def others(self, config: Config) -> dict[Path, int]:
        """Other existing run directories of the app, and the owner of each: those of other
        users, and those of this user in which a hub runs."""
        if config.run_dir is not None:
            return {}
        chosen, user = self.directory(config), current_user()
        found = others(self.instance, self.root, self.name)
        return {
            path: owner
            for path, owner in found.items()
            if path != chosen and (owner != user or HubFiles.of(path).is_open())
        }

    def doubts(self, config: Config) -> list[str]:
        """Reasons why events may not reach all processes of the app, or may reach another
        app. Creates nothing."""
        chosen = self.directory(config)
        found = self.apart(config)
        in_instance = chosen.parent == Path(self.instance)
        known = self.instance_known if in_instance else self.root_known
        if config.run_dir is None and not known:
            found.append(
                f"The name of the app {self.name!r} is not that of a module, and so its run"
                f" directory {chosen} depends on the working directory. Write"
                " Flask(__name__), or set PUSH_RUN_DIR."
            )
        other = _read_name(chosen / _NAME) if config.run_dir is not None else ""
        if other and other != self.name:
            found.append(
                f"The apps {other!r} and {self.name!r} share the run directory {chosen},"
                " and so the channels in it. Set PUSH_RUN_DIR to a directory of its own for"
                f" each; or remove {chosen / _NAME}, if the app was only renamed."
            )
        return found

    def apart(self, config: Config) -> list[str]:
        """A reason for each other run directory: its processes don't get the events."""
        chosen = self.directory(config)
        return [
            f"The app {self.name!r} has the run directory {chosen} in this process, and"
            f" {path} in those of {user_name(owner)}. They share no events. Run all"
            " processes of the app as one user, or set PUSH_RUN_DIR; or remove"
            f" {path}, if it is no longer used."
            for path, owner in self.others(config).items()
        ]

    def introduce(self, config: Config) -> None:
        """Log the doubts. If PUSH_RUN_DIR is set, write the app's name into it."""
        for doubt in self.doubts(config):
            logger.warning("Events may not reach the right processes: %s", doubt)
        if config.run_dir is not None:
            with contextlib.suppress(OSError):
                _write_name(Path(config.run_dir) / _NAME, self.name)


def _read_name(path: Path) -> str:
    """The name of the first app that used the directory; empty if there is none."""
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), errors="replace") as file:
            return file.read(1000).strip()
    except OSError:
        return ""


def _write_name(path: Path, name: str) -> None:
    with os.fdopen(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(f"{name}\n")


def _is_module(name: str) -> bool:
    if getattr(sys.modules.get(name), "__file__", None):
        return True
    try:
        return importlib.util.find_spec(name.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _as_imported(name: str) -> tuple[str, Path] | None:
    """The name under which another process would import the script, and the directory from
    which."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(os.path.abspath(file))
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return spec.name, path.parents[spec.name.count(".")]
    # The command flask does the same to import a file.
    words, top = [path.stem], path.parent
    while (top / "__init__.py").is_file():
        words.insert(0, top.name)
        top = top.parent
    return ".".join(words), top


def _instance(name: str, top: Path) -> str:
    """The instance folder that Flask chooses for an app that is imported from `top`."""
    prefix = os.path.abspath(sys.prefix)
    if top.is_relative_to(prefix):
        return os.path.join(prefix, "var", f"{name}-instance")
    return str(top / "instance")
