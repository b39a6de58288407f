"""The text of a row of an outbox: what is written is read, and nothing else."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push import Event
from flask_push import Publisher
from flask_push._changes import Change
from flask_push._delivery.disconnect import Disconnect
from flask_push._event_checks import EventChecks
from flask_push.brokers import ItemChange
from flask_push.sqlalchemy._row_text import from_text
from flask_push.sqlalchemy._row_text import to_text

CHECKS: EventChecks = Publisher("memory:")._checks


@pytest.mark.parametrize(
    "change",
    [
        *(Event("a", "1"), Event("a", "ü\n", "t", "key", False)),
        Event("a", "1", exclude="0123456789abcdef"),
        *(ItemChange("a", "i", "1"), ItemChange("a", "i", "1", "t", 2.5, 7)),
        *(ItemChange("a", "i", None), ItemChange("a", "i", None, version=7)),
        *(Disconnect(user="u"), Disconnect(channel="a", session="s", reason="ü")),
    ],
)
def test_what_is_written_is_read(change: Change) -> None:
    assert from_text(to_text(change), CHECKS) == change


@pytest.mark.parametrize("name", ["id", "expect", "kind", "owner", "due", "new"])
@pytest.mark.parametrize("item", [{}, {"item": "i"}])
def test_a_value_that_no_row_has_is_refused(name: str, item: dict[str, t.Any]) -> None:
    values = {"channel": "a", "data": "1", **item, name: "x"}
    with pytest.raises(ValueError, match=f"it has {name}"):
        from_text(json.dumps(values), CHECKS)


@pytest.mark.parametrize("values", [[], None, "x", {"channel": "a", "data": 5}])
def test_what_is_no_change_is_refused(values: t.Any) -> None:
    with pytest.raises(ValueError, match="The row can't be read"):
        from_text(json.dumps(values), CHECKS)
