"""The source, by folder, and what each folder may import."""

from __future__ import annotations

import re
from pathlib import Path

from support.servers import ROOT

SOURCE = ROOT / "src" / "flask_push"


#: By room, the rooms that it may import. ``app`` is what lies beside ``__init__``.
MAY_IMPORT = {
    "_event": set[str](),
    "_system": set[str](),
    "sse": {"_event"},
    "_delivery": {"_event", "sse"},
    "brokers": {"_event", "sse", "_system"},
    "_config": {"_event", "_delivery", "brokers"},
    "_ipc": {"_event", "_system", "_delivery", "brokers"},
    "_hub": {"_event", "sse", "_system", "_delivery", "brokers", "_ipc"},
    "_handoff": {"_event", "sse", "_system", "_delivery", "brokers", "_ipc"},
    "_holder": {"_event", "_system", "_delivery", "brokers", "_ipc"},
    "client": {"_event", "sse", "_system", "_delivery"},
    "_doctor": {
        "_config",
        "_event",
        "sse",
        "_system",
        "_delivery",
        "brokers",
        "_ipc",
        "client",
    },
    "asgi": {"_event", "_system", "_delivery", "_handoff"},
}

EVERYTHING = {*MAY_IMPORT, "sqlalchemy", "app"}
MAY_IMPORT["app"] = EVERYTHING - {"testing"}
MAY_IMPORT["sqlalchemy"] = EVERYTHING - {"testing"}
MAY_IMPORT["compat"] = EVERYTHING - {"testing"}
MAY_IMPORT["testing"] = EVERYTHING
MAY_IMPORT["_pyinstaller"] = set()


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


# One word per thing. These are other words for ours.
WRONG = re.compile(r"\b(topic|room|subscriber|consumer|producer|broadcast|emit)s?\b", re.I)
