"""Code with one rule taken out of its source."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
import types
import typing as t
from unittest import mock

import pytest

# Each after those that it imports.
_PARTS = (
    *("item_log", "channel", "roster", "encoder", "rosters", "subscription", "gzip"),
    *("replay", "horizons", "log"),
    *("item_replay", "all_items", "paced", "groups", "readers", "snapshot"),
)


def mutated(old: str, new: str) -> types.ModuleType:
    """What a hub decides with, as one module of its own, with one rule taken out.

    :param old: Source text, which stands in one place only.
    :param new: What stands there instead.
    """
    modules = {}
    found = 0
    for part in _PARTS:
        name = f"flask_push._delivery.{part}"
        source = inspect.getsource(importlib.import_module(name))
        found += source.count(old)
        modules[name] = module = types.ModuleType(name)
        module.__package__ = "flask_push._delivery"
        with mock.patch.dict(sys.modules, modules):
            exec(source.replace(old, new), module.__dict__)
    assert found == 1, f"the source has {old!r} {found} times"
    readers = modules["flask_push._delivery.readers"]
    vars(readers)["LogState"] = modules["flask_push._delivery.snapshot"].LogState
    vars(readers)["RosterState"] = modules["flask_push._delivery.snapshot"].RosterState
    vars(readers)["take_rows"] = modules["flask_push._delivery.all_items"].take_rows
    vars(readers)["ItemsPlace"] = modules["flask_push._delivery.subscription"].ItemsPlace
    return readers


class Mutant(t.NamedTuple):
    """A rule that is taken out of a method."""

    of: type
    method: str
    code: str
    instead: str

    def install(self, patch: pytest.MonkeyPatch) -> None:
        function = getattr(self.of, self.method)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.code) == 1, self.code
        made: dict[str, t.Any] = {}
        names = dict(vars(inspect.getmodule(function)))
        exec(
            "from __future__ import annotations\n"
            + source.replace(self.code, self.instead),
            names,
            made,
        )
        patch.setattr(self.of, self.method, made[self.method])
