"""The pieces of a text, as a model returns them."""

from __future__ import annotations

import collections.abc as cabc


def pieces_of(source: cabc.Iterable[str]) -> cabc.Iterator[str]:
    """Each piece. When the iterator is closed, so is the source, if it can be: then a model
    stops, although the app may still have the source."""
    try:
        yield from source
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
