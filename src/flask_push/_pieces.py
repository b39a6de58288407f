"""The pieces of a text, as a model returns them."""

from __future__ import annotations

import collections.abc as cabc


def pieces_of(source: cabc.Iterable[str]) -> cabc.Iterator[str]:
    """Each piece. When the iterator is closed, so is the source: then a model stops,
    although the app may still have the source."""
    try:
        yield from source
    finally:
        close(source)


def close(source: object) -> None:
    """Close a source if it can be closed, as a generator can."""
    method = getattr(source, "close", None)
    if method is not None:
        method()
