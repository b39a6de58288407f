"""The frames of a channel, and what it lost."""

from __future__ import annotations

import pytest
from support.laws import tell
from support.world import fail

from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry


@pytest.mark.parametrize("most", [1, 2])
def test_a_channel_that_lost_something_many_times_tells_each_reader(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a number of times the ends of the gaps are forgotten."""
    monkeypatch.setattr("flask_push._delivery.channel.MOST_LOST", most)
    story = "start 0; replace 0; connect 0 ab nothing; watch 0 2"
    for _ in range(3):
        story += "; publish b; publish a; lose 0 1 1; publish a; publish b; replace 0"
    tell(f"{story}; replace 0; lose 0 1 1", None)


def test_a_log_keeps_no_order_of_frames_that_it_has_dropped() -> None:
    log = Log(report=fail, max_bytes=3000)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 0)
    for name in "xyz":
        readers.join(Subscription(), [name])
    log.hold("xyz")

    def publish(channel: str) -> None:
        number = log.end + 1
        log.turn("e", [Entry(number, log.end, channel, "message", b"x")], number)

    for name in "xyzxyz":
        publish(name)
    for n in range(1000):
        comes = Subscription()
        readers.join(comes, [f"c{n}"])
        log.hold([f"c{n}"])
        publish(f"c{n}")
        readers.leave(comes)
        assert len(log.budget._order) <= 2 * len(log.budget) + 64
    # What is left is in the order of its age still.
    assert [len(log.channels[name]) for name in "xyz"] == [2, 2, 2]
    readers.join(Subscription(), ["new"])
    log.hold(["new"])
    while len(log.budget) == 6 + len(log.channels["new"]):
        publish("new")
    publish("new")
    publish("new")
    assert [len(log.channels[name]) for name in "xyz"] == [1, 1, 1]
    assert log.budget._size <= 3000
