"""The judge of runs finds what is wrong."""

from __future__ import annotations

import json
import typing as t

import pytest
from support.run_judge import AGAIN
from support.run_judge import Truth

from flask_push import Event
from flask_push._delivery.run_rows import pack
from flask_push._delivery.run_rows import STATUS
from flask_push._event import ItemRow
from flask_push._event import Position

Rows = list[tuple[str, t.Any]]


def status(status: str, attempt: int = 1) -> tuple[str, t.Any]:
    return STATUS, {"status": status, "attempt": attempt}


def texts(attempt: int, *numbers: int) -> tuple[str, t.Any]:
    return "message", [f"{attempt} {n}" for n in numbers]


QUEUED, RUNNING, DONE = status("queued"), status("running"), status("done")
#: A run whose first attempt was lost.
LOST: Rows = [QUEUED, RUNNING, texts(1, 0, 1), status("lost"), status("running", 2)]
RIGHT: Rows = [*LOST, texts(2, 0), texts(2, 1, 2), status("done", 2)]


def truth(*rows: tuple[str, t.Any]) -> Truth:
    found = []
    for number, (type, said) in enumerate(rows, 1):
        data = json.dumps(said) if type == STATUS else pack(said)
        position = Position("e", number)
        found.append(ItemRow(position, "a", f"1.1.{number}", type, data.encode()))
    return Truth(found)


def test_a_run_with_two_attempts_is_right() -> None:
    right = truth(*RIGHT)
    assert right.judge(3) == [] and right.judge_stop(7) == []
    assert right.ends == {1: "lost", 2: "done"} and right.newest == 7
    notes: list[dict[str, t.Any]] = [
        {"attempt": 1, "written": 2},
        {"left": "done"},
        {"over": "done"},
    ]
    assert right.judge_notes(notes) == []


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([*LOST, texts(2, 0, 1, 2)], "the run is running in the end"),
        ([*LOST, texts(2, 0, 1), status("done", 2)], "done with 2 events"),
        ([*RIGHT, status("done", 2)], "done follows done"),
        ([*RIGHT, texts(2, 3)], "stored while the run was not running"),
        ([QUEUED, RUNNING, texts(1, 0, 0), DONE], "b'1 0' is stored in place of 1 1"),
        ([QUEUED, RUNNING, texts(1, 1), DONE], "b'1 1' is stored in place of 1 0"),
        ([QUEUED, status("stopping"), texts(1, 0)], "1.1.3 was stored while"),
        ([QUEUED, RUNNING, status("running")], "running follows running"),
    ],
)
def test_rows_that_are_wrong_are_found(rows: Rows, wrong: str) -> None:
    assert wrong in "; ".join(truth(*rows).judge(3))


def test_an_event_behind_a_stop_is_found() -> None:
    assert truth(*RIGHT).judge_stop(6) == ["event 7 was stored after the stop at 6"]


@pytest.mark.parametrize(
    "note", [{"attempt": 2, "written": 4}, {"over": "stopped"}, {"left": "failed"}]
)
def test_a_note_that_is_not_so_is_found(note: dict[str, t.Any]) -> None:
    assert len(truth(*RIGHT).judge_notes([note])) == 1


def events(*rows: tuple[str, t.Any], epoch: str = "e0000") -> list[Event]:
    """As a follower receives them."""
    found = [Event("a", "{}", "push:open")]
    for type, said in rows:
        if type == STATUS:
            found.append(Event("a", json.dumps(said), STATUS, id=f"{epoch}-1.a"))
        else:
            found += [Event("a", text, id=f"{epoch}-1.a") for text in said]
    return found


NEXT: Rows = RIGHT[4:]


@pytest.mark.parametrize(
    ("received", "whole"),
    [
        (events(*RIGHT), True),
        (events(*RIGHT[:4]) + [AGAIN] + events(*NEXT), True),
        (events(*RIGHT[:3]) + [AGAIN] + events(*RIGHT[1:4]) + events(*NEXT), True),
        (events(texts(1, 1), *RIGHT[3:]), False),
        (events(status("lost"), *NEXT), False),
        (events(*LOST, texts(2, 0)) + events(*NEXT, epoch="f0000"), True),
        (events(texts(2, 1)) + events(*NEXT, epoch="f0000"), False),
        (events(*RIGHT[:3]) + [Event("a", "{}", "push:gap")] + events(*NEXT), True),
    ],
)
def test_a_follower_that_has_all_is_right(received: list[Event], whole: bool) -> None:
    assert truth(*RIGHT).judge_push(received, whole) == []


@pytest.mark.parametrize(
    ("received", "wrong"),
    [
        (events(*RIGHT[:-1]), "it has received no end"),
        (events(RUNNING, texts(1, 1)), "1 1 came in place of 1 0"),
        (events(texts(1, 1)), "attempt 1 began with 1 1"),
        (events(*RIGHT[:3], texts(1, 1)), "1 1 came in place of 1 2"),
        (events(*RIGHT, status("done", 2)), "came behind the end"),
        (events(*RIGHT, texts(2, 3)), "2 3 came in place of 2 3"),
        (events(RUNNING, texts(1, 0), status("lost")), "1 events and then lost"),
        (events(*RIGHT[:3], DONE), "2 events and then done"),
        (events(*LOST, texts(2, 0)) + events(*NEXT), "2 0 came in place of 2 1"),
    ],
)
def test_a_follower_that_has_something_else_is_found(
    received: list[Event], wrong: str
) -> None:
    assert wrong in "; ".join(truth(*RIGHT).judge_push(received, True))


def body(*words: str) -> bytes:
    return b":\n" + b"".join(f"data: {word}\n\n".encode() for word in words)


LOST_WORD = '{"error":{"message":"lost","type":"server_error","code":"lost"}}'
AGAIN_WORD = LOST_WORD.replace("lost", "restarted")


@pytest.mark.parametrize(
    "received",
    [
        body("2 0", "2 1", "2 2", "[DONE]"),
        body("1 0", "1 1", LOST_WORD, "[DONE]"),
        body("1 0", AGAIN_WORD, "[DONE]"),
    ],
)
def test_a_body_that_has_all_is_right(received: bytes) -> None:
    assert truth(*RIGHT).judge_plain(received) == []


@pytest.mark.parametrize(
    "received",
    [
        *(b":\n", body("2 0", "2 1", "2 2"), body("2 0", "2 1", "[DONE]")),
        *(body("2 0", "2 2", "[DONE]"), body("[DONE]"), body("1 0", "1 1", "[DONE]")),
        *(body("1 0", LOST_WORD, "[DONE]"), body("2 0", "2 1", "2 2", LOST_WORD)),
    ],
)
def test_a_body_that_has_something_else_is_found(received: bytes) -> None:
    assert len(truth(*RIGHT).judge_plain(received)) == 1
