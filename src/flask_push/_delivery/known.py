"""How fields that a newer version has added are ignored."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from dataclasses import fields
from functools import cache


def known(kind: type[t.Any], values: cabc.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The values that this version knows: those of the fields of a dataclass or a named
    tuple."""
    names = _names(kind)  # type: ignore[arg-type]
    if values.keys() <= names:
        return dict(values)
    return {name: value for name, value in values.items() if name in names}


def known_of_row(kind: type[t.Any], row: cabc.Sequence[t.Any]) -> list[t.Any]:
    """The same of the values of a named tuple, in the order of its fields. Fields are
    only added at the end."""
    return list(row[: len(kind._fields)])


@cache
def _names(kind: type[t.Any]) -> frozenset[str]:
    names = getattr(kind, "_fields", None) or (field.name for field in fields(kind))
    return frozenset(names)
