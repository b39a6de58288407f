"""The bytes of runs: on the wire of all streams, and on those of AI clients."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import sse
from flask_push._delivery.run_record import Status
from flask_push._delivery.run_wires import progress_frame
from flask_push._delivery.run_wires import Row
from flask_push._delivery.run_wires import skip
from flask_push._delivery.run_wires import status_frame
from flask_push._delivery.run_wires import Why
from flask_push._delivery.run_wires import WIRES
from flask_push._event import Position

EPOCH = "kQ3fZ"
PLAIN = ["ai-sdk", "ag-ui", "openai"]


def row(*events: str, number: int = 1000, type: str = "message") -> Row:
    encoded = [event.encode() for event in events]
    return Row(EPOCH, number, "chat:1", type, encoded)


def last_words(wire: str, status: str, text: str = "", last: str = "") -> list[str]:
    sent = WIRES[wire].end(row("{}"), status, text, last.encode()).decode()
    assert re.fullmatch("(data: [^\r\n]+\n\n)*", sent)
    return [line.removeprefix("data: ") for line in sent.split("\n\n")[:-1]]


def test_each_event_of_a_row_has_an_id_of_its_own() -> None:
    sent = WIRES["push"].row(row("a", "b", "c", type="said"))
    events = sse.Parser().feed(sent)
    assert [(e.data, e.type, e.channel) for e in events] == [
        (text, "said", "chat:1") for text in "abc"
    ]
    numbers = [Position.parse(event.id).number for event in events]
    assert numbers == [999, 999, 1000]
    assert [event.id.split(".")[2:] for event in events] == [["1"], ["2"], []]


@given(st.lists(st.text(), min_size=1, max_size=9))
def test_a_reader_that_was_cut_off_in_a_row_gets_the_rest(texts: list[str]) -> None:
    sent = WIRES["push"].row(row(*texts))
    whole = sse.Parser().feed(sent)
    assert len(whole) == len(texts)
    for event in whole[:-1]:
        count = int(event.id.split(".")[2])
        rest = sse.Parser().feed(skip(sent, count))
        assert [each.data for each in rest] == [each.data for each in whole[count:]]


def test_a_status_is_an_event_of_its_own() -> None:
    sent = status_frame(row('{"status":"done"}'))
    assert WIRES["push"].end(row('{"status":"done"}'), "done", "", b"") == sent
    (event,) = sse.Parser().feed(sent)
    assert (event.type, event.data) == ("push:run", '{"status":"done"}')
    assert Position.parse(event.id) == Position(EPOCH, 1000)


def test_progress_has_no_id() -> None:
    assert progress_frame([b'{"done":3}']) == b'event: push:progress\ndata: {"done":3}\n\n'


@pytest.mark.parametrize("wire", PLAIN)
def test_a_plain_wire_has_nothing_but_data(wire: str) -> None:
    sent = WIRES[wire].row(row('{"a": 1}', "x\ny", type="said"))
    assert sent == b'data: {"a": 1}\n\ndata: x\ndata: y\n\n'
    assert WIRES[wire].is_plain and not WIRES["push"].is_plain


def test_a_run_of_the_ai_sdk_ends_as_it_expects() -> None:
    assert last_words("ai-sdk", "done") == ["[DONE]"]
    abort = '{"type":"abort","reason":"stopped"}'
    assert last_words("ai-sdk", "stopped") == [abort, "[DONE]"]
    error = '{"type":"error","errorText":"Row 3."}'
    assert last_words("ai-sdk", "failed", "Row 3.") == [error, "[DONE]"]
    assert WIRES["ai-sdk"].headers == {"x-vercel-ai-ui-message-stream": "v1"}


def test_a_run_of_ag_ui_has_one_error_at_most() -> None:
    assert last_words("ag-ui", "done", "", '{"type":"RUN_FINISHED"}') == []
    (error,) = last_words("ag-ui", "stopped")
    assert json.loads(error) == {
        **{"type": "RUN_ERROR", "message": "stopped", "code": "stopped"}
    }
    own = '{"message": "mine", "type": "RUN_ERROR"}'
    assert last_words("ag-ui", "failed", "", own) == []
    for other in "[1]", "RUN_ERROR", '"RUN_ERROR"', "":
        assert len(last_words("ag-ui", "failed", "", other)) == 1


def test_a_run_of_openai_ends_as_it_expects() -> None:
    assert last_words("openai", "done") == ["[DONE]"]
    error, done = last_words("openai", "lost")
    assert done == "[DONE]"
    assert json.loads(error)["error"] == {
        **{"message": "lost", "type": "server_error", "code": "lost"}
    }


@pytest.mark.parametrize("wire", PLAIN)
@pytest.mark.parametrize("why", Why.__args__)  # type: ignore[attr-defined]
def test_a_stream_that_ends_before_its_run_says_so(wire: str, why: Why) -> None:
    sent = WIRES[wire].broken(why)
    assert sent == WIRES[wire].end(row("{}"), why, "", b"")
    assert why.encode() in sent and b"abort" not in sent
    assert WIRES["push"].broken(why) == b""


@pytest.mark.parametrize("wire", PLAIN)
@pytest.mark.parametrize("status", Status.__args__[3:])  # type: ignore[attr-defined]
def test_only_what_the_app_says_is_sent(wire: str, status: str) -> None:
    words = "".join(last_words(wire, status))
    assert status == "done" or status in words
