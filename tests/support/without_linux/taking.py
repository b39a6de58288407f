"""Takes names, modules and paths away from this process."""

from __future__ import annotations

import builtins
import collections.abc as cabc
import errno
import functools
import importlib
import io
import os
import sys
import typing as t
from pathlib import Path

from . import real

#: The sets in which :mod:`os` says what its functions can do.
_ABILITIES = (
    os.supports_dir_fd,
    os.supports_fd,
    os.supports_effective_ids,
    os.supports_follow_symlinks,
)


def take_names(list_: str) -> None:
    """Remove what a list names, from the modules and from those that they are made of."""
    for module, words in read(list_).items():
        if module == "modules":
            for name in words:
                # The import of a module that is None fails.
                sys.modules[name] = None  # type: ignore[assignment]
            continue
        for place in module, f"_{module}":
            if place in sys.modules or place == module:
                found = vars(importlib.import_module(place))
                for name in matching(words, found):
                    del found[name]


def read(list_: str) -> dict[str, list[str]]:
    """The names of a list, by module."""
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name(list_).read_text().splitlines():
        if line.startswith("["):
            words = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            words.extend(line.split())
    return found


def matching(words: cabc.Iterable[str], names: cabc.Iterable[str]) -> list[str]:
    """Those of the names that a list has. A word that ends with ``*`` is a beginning."""
    whole = set(words)
    beginnings = tuple(word[:-1] for word in whole if word.endswith("*"))
    return [name for name in names if name in whole or name.startswith(beginnings)]


def replace(name: str, function: t.Any) -> None:
    """Put another function into :mod:`os`."""
    old = getattr(os, name)
    for abilities in _ABILITIES:
        if old in abilities:
            abilities.add(function)
    setattr(os, name, functools.wraps(old)(function))


class Open:
    """``open``, which first asks another function. Other than a function, it does not
    become a method in a class."""

    __name__ = __qualname__ = "open"
    __doc__ = open.__doc__

    def __init__(self, look: cabc.Callable[..., tuple[t.Any, ...]]) -> None:
        self._look = look

    def __call__(
        self,
        file: t.Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: t.Any = None,
    ) -> t.Any:
        encoding, newline = self._look(file, mode, encoding, newline)
        more = encoding, errors, newline, closefd, opener
        return real.open(file, mode, buffering, *more)


def replace_open(look: cabc.Callable[..., tuple[t.Any, ...]]) -> None:
    builtins.open = io.open = Open(look)


def hide(paths: tuple[str, ...], but: tuple[str, ...] = ()) -> cabc.Callable[..., None]:
    """Make all functions that take a path behave as if these were not there.

    :return: A function that raises if a path is one of them.
    """

    def check(path: t.Any) -> None:
        if isinstance(path, int) or path is None:
            return
        text = os.fsdecode(path)
        if text.startswith("/") and text not in but:
            inside = f"{os.path.normpath(text)}/"
            if inside.startswith(tuple(f"{path}/" for path in paths)):
                raise FileNotFoundError(
                    errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path)
                )

    def checked(function: t.Any) -> t.Any:
        def checked(path: t.Any = ".", *args: t.Any, **options: t.Any) -> t.Any:
            check(path)
            return function(path, *args, **options)

        return checked

    for name in _TAKE_A_PATH:
        if hasattr(os, name):
            replace(name, checked(getattr(os, name)))
    access = os.access

    def access_checked(path: t.Any, mode: int, **options: t.Any) -> bool:
        try:
            check(path)
        except FileNotFoundError:
            return False
        return access(path, mode, **options)

    replace("access", access_checked)
    return check


_TAKE_A_PATH = (
    *("open", "stat", "lstat", "listdir", "scandir", "readlink", "statvfs"),
    *("mkdir", "unlink", "remove", "rmdir", "chmod", "utime", "truncate"),
)
