"""A client that gets another address when its signed address is no longer valid."""

from __future__ import annotations

import logging
import typing as t

import pytest
from support.scripted import body
from support.scripted import hasty as hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status

import flask_push
from flask_push.client import Refused

GONE = [status(410)]
EXPIRED = b"event: push:expired\ndata: {}\n\nretry: 500\n"


def asked(server: Scripted) -> list[str]:
    """What each request asked for."""
    return [request.split(" ")[1] for request in server.requests]


def test_it_goes_on_at_another_address_with_the_last_id(hasty: None) -> None:
    first = body(b"id: 1\ndata: a\n\n", EXPIRED)
    with Scripted(first, GONE, body(b"id: 2\ndata: b\n\n")) as server:
        found = listen(
            f"{server.url}?signed=x",
            renew=lambda: "/stream?signed=y",
            items=True,
            channels=["c"],
            headers={"X": "1"},
        )
        assert [data for _, data, _ in found] == ["a", "b"]
        words = "channel=c&items=1"
        assert asked(server)[:3] == [
            f"/stream?signed=x&{words}",
            f"/stream?signed=x&{words}",
            f"/stream?signed=y&{words}",
        ]
        assert server.header(2, "Last-Event-ID") == "1"
        assert server.header(2, "X") == "1"


def test_it_renews_again_and_again(hasty: None) -> None:
    numbers = iter(range(9))
    answers = [GONE, body(b"data: a\n\n"), GONE, body(b"data: b\n\n")]
    with Scripted(*answers) as server:
        found = listen(server.url, renew=lambda: f"/{next(numbers)}")
        assert [data for _, data, _ in found] == ["a", "b"]
        assert asked(server) == ["/stream", "/0", "/0", "/1", "/1"]


def test_an_address_that_is_refused_at_once_is_renewed_after_a_pause(
    hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "flask_push")
    answers = [GONE, GONE, GONE, GONE, body(b"data: a\n\n")]
    with Scripted(*answers) as server:
        found = listen(f"{server.url}?signed=x", renew=lambda: "/s?signed=secret")
        assert [data for _, data, _ in found] == ["a"]
    (line,) = caplog.messages
    assert "its new address is not valid either" in line and "secret" not in line


def test_a_renewal_that_fails_is_tried_again(hasty: None) -> None:
    errors = [OSError("down"), ConnectionError("down")]

    def renew() -> str:
        if errors:
            raise errors.pop()
        return "/next"

    with Scripted(GONE, GONE, GONE, body(b"data: a\n\n")) as server:
        assert [data for _, data, _ in listen(server.url, renew=renew)] == ["a"]
        assert asked(server)[:4] == ["/stream"] * 3 + ["/next"]


def test_without_another_address_it_is_refused(hasty: None) -> None:
    options: dict[str, t.Any]
    for options in ({}, {"renew": lambda: ""}):
        with Scripted(GONE) as server:
            with pytest.raises(Refused) as caught:
                listen(f"{server.url}?signed=secret", **options)
        assert caught.value.status == 410
        assert "secret" not in str(caught.value) and "signed=…" in str(caught.value)


def test_any_other_error_of_the_function_is_raised(hasty: None) -> None:
    def renew() -> str:
        raise KeyError("mine")

    with Scripted(GONE) as server, flask_push.connect(server.url, renew=renew) as source:
        with pytest.raises(KeyError, match="mine"):
            next(source)
        assert list(source) == []


def test_an_invalid_address_is_an_error(hasty: None) -> None:
    with Scripted(GONE) as server, pytest.raises(ValueError, match="http"):
        listen(server.url, renew=lambda: "ftp://h/")


def test_headers_are_not_sent_to_another_origin(hasty: None) -> None:
    with Scripted(body(b"data: a\n\n")) as other, Scripted(GONE) as server:
        listen(server.url, headers={"X": "1"}, renew=lambda: other.url)
        assert server.header(0, "X") == "1" and other.header(0, "X") is None


def test_what_is_signed_is_in_no_repr() -> None:
    source = flask_push.connect("http://h/s?a=1&signed=secret&b=2")
    assert repr(source) == "<Source http://h/s?a=1&signed=…&b=2: away>"
