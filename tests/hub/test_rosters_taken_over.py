"""Rosters on their way from one hub process to the next."""

from __future__ import annotations

import json

from flask_push._delivery.snapshot import RosterState
from flask_push._hub.takeover import _Collector
from flask_push._hub.takeover import _parts_of_rosters
from flask_push._ipc.protocol import Reader
from flask_push._ipc.takeover_protocol import Rosters


def test_large_rosters_are_sent_in_parts() -> None:
    rows = [[number, f"A.user {number}", "1" * 20_000] for number in range(250)]
    rosters = [RosterState("r", 7, rows), RosterState("empty", 3, [])]
    messages = [Rosters(parts).to_json() for parts in _parts_of_rosters(rosters)]
    assert len(messages) > 2
    collector = _Collector()
    for message in messages:
        received = Reader("successor").read(json.loads(json.dumps(message)))
        assert isinstance(received, Rosters)
        collector.handlers[Rosters](received, [])
    assert collector.handover().state.rosters == rosters


def test_a_field_that_a_newer_version_adds_is_ignored() -> None:
    collector = _Collector()
    collector.handlers[Rosters](Rosters([["r", 7, [[1, "A.ada", "1"]], "more"]]), [])
    (roster,) = collector.handover().state.rosters
    assert roster == RosterState("r", 7, [[1, "A.ada", "1"]])


def test_many_rosters_are_sent_in_parts() -> None:
    rosters = [RosterState(f"r{number}", 7, []) for number in range(250)]
    assert [len(parts) for parts in _parts_of_rosters(rosters)] == [100, 100, 50]
