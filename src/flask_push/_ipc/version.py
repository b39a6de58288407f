"""Which version this is, and which of two is the newer one."""

from __future__ import annotations

import re

# The one of pyproject.toml. To look it up in the metadata of the installed package takes a
# hub as long as a quarter of its start. So it is that of the code that this process runs.
_VERSION = "0.1.0.dev0"


def version() -> str:
    """The version of the code that this process runs."""
    return _VERSION


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
