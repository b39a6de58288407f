"""Takes one safeguard out of the library, in a process that a test starts.

The environment says which: a module or a Lua file, the text to be replaced, and what by.
It has to be imported before the library.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
import typing as t

#: The module that reads Lua files, and the text by which it does.
READS_LUA, READING = "flask_push.brokers.redis.scripts", '.read_text(encoding="utf-8")'


class Patched(importlib.machinery.SourceFileLoader):
    old = new = ""

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_source(fullname) or ""
        assert source.count(self.old) == 1, f"{fullname} has {self.old!r} not once"
        return compile(source.replace(self.old, self.new), self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, old: str, new: str) -> None:
        self.module = module
        Patched.old, Patched.new = old, new

    def find_spec(
        self, name: str, path: t.Any, target: t.Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.origin is not None
        spec.loader = Patched(name, spec.origin)
        return spec


def finder(module: str, old: str, new: str) -> Finder:
    if not module.endswith(".lua"):
        return Finder(module, old, new)
    # No import reads it: patch the module that does.
    return Finder(READS_LUA, READING, f"{READING}.replace({old!r}, {new!r})")


if "MUTANT" in os.environ:
    sys.meta_path.insert(0, finder(*json.loads(os.environ["MUTANT"])))
