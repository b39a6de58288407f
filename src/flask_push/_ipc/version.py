"""Which version this is, and which of two is the newer one."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """The version that was installed when this process first asked."""
    try:
        return metadata.version("Flask-Push")
    except metadata.PackageNotFoundError:
        return "0"


def is_newer(one: str, other: str) -> bool:
    return _key(one) > _key(other)


def _key(text: str) -> tuple[list[int], bool, list[int]]:
    """Enough of PEP 440: numbers count, and a release is newer than its pre-releases
    (``.dev``, ``a``, ``b``, ``rc``)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    release = [int(n) for n in match[0].split(".")] if match else [0]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    rest = text[match.end() :] if match else text
    before = rest.partition("+")[0]
    return (
        release,
        not before or before.startswith(".post"),
        [int(n) for n in re.findall(r"\d+", before)],
    )
