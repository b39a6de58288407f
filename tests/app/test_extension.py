"""What a Flask app sees, in Flask's own test client: no server, no file, no process."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import push as push

from flask_push import Push


@pytest.mark.parametrize(
    ("channels", "options", "problem"),
    [
        ((), {}, "at least one channel"),
        (("",), {}, "non-empty"),
        (tuple(map(str, range(101))), {}, "PUSH_MAX_CHANNELS"),
        (("a",), {"last": -1}, "last"),
        (("a",), {"lifetime": -1}, "lifetime"),
        (("a",), {"lifetime": float("nan")}, "lifetime"),
    ],
)
def test_a_stream_that_cannot_be_granted_raises_an_error_with_the_reason(
    channels: tuple[str, ...],
    options: dict[str, t.Any],
    problem: str,
    push: Push,
    app: Flask,
) -> None:
    with app.test_request_context(), pytest.raises(ValueError, match=problem):
        push.stream(*channels, **options)
