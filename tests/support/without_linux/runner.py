"""A plugin for pytest, which itself needs more than Windows has, unless it is there."""

from __future__ import annotations

import importlib
import typing as t

from . import real

_NAMES = ("capture", "compat", "pathlib", "tmpdir")

for _name in _NAMES:
    _module: t.Any = importlib.import_module(f"_pytest.{_name}")
    _module.os = real.os
