"""What a publisher is made with is checked, and what its broker can do."""

from __future__ import annotations

import typing as t

import pytest
from support.plain_broker import Plain

from flask_push import Publisher


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"timeout": "2"}, TypeError, "timeout is a number of seconds"),
        ({"timeout": 0}, ValueError, "above 0"),
        ({"max_event_bytes": 1.5}, TypeError, "max_event_bytes is a number"),
        ({"max_run_bytes": 1}, ValueError, "max_run_bytes is a number of bytes from"),
        ({"dumps": "json"}, TypeError, "dumps is a function"),
        ({"lost_after": True}, TypeError, "lost_after is a number"),
        ({"lost_after": 1}, ValueError, "lost_after is a number of seconds from"),
        ({"after_commit_error": "log"}, TypeError, "after_commit_error is a function"),
    ],
)
def test_an_option_that_is_invalid_is_refused(
    options: dict[str, t.Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Publisher("memory:", **options)


def test_a_broker_without_logs_of_ours_disconnects_neither_now_nor_later() -> None:
    publisher = Publisher(Plain())
    with pytest.raises(RuntimeError, match="does not keep disconnects"):
        publisher.disconnect(user=7)
    with publisher.held() as later:
        with pytest.raises(RuntimeError, match="does not keep disconnects"):
            later.disconnect(user=7)
        with pytest.raises(RuntimeError, match="keeps no items"):
            later.set("a", "i", 1)
        with pytest.raises(RuntimeError, match="keeps no items"):
            later.unset("a", "i")
