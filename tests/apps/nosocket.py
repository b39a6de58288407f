"""The basic app, with a view that shows its hub."""

from __future__ import annotations

from apps.basic import app as app
from apps.basic import push


@app.get("/hub")
def hub() -> str:
    return repr(push._parts().hub)
