"""The lines of ``flask push top``, from looks that are given."""

from __future__ import annotations

import typing as t

from flask_push._delivery.figures import Figures
from flask_push._system.terminal import width_of
from flask_push._top_screen import lines
from flask_push._top_screen import Look
from flask_push._top_screen import rates_of
from flask_push._top_screen import span
from flask_push._top_screen import Stored

HUB: dict[str, t.Any] = {
    **{"pid": 7, "seconds": 7500, "cpu_seconds": 1.0, "streams": 1893, "behind": 2},
    **{"present": 3, "channels": 212},
}


def test_rates_are_what_was_counted_between_two_rows_by_the_stores_clock() -> None:
    def look(events: int, number: int) -> Look:
        figures = Figures({"events": events, "streams_opened:new": events // 10})
        return Look([HUB], stored={7: Stored(figures, number)})

    rates = rates_of(look(600, 7_000_000), look(100, 2_000_000))
    assert (rates["events"], rates["opened"], rates["bytes"]) == (100.0, 10.0, 0.0)
    assert rates_of(look(100, 2_000_000), look(100, 2_000_000)) == {}
    # The hub counts from 0 again, under another name.
    assert rates_of(look(5, 7_000_000), look(100, 2_000_000))["events"] == 0


def test_the_screen_has_streams_rates_hubs_and_channels() -> None:
    figures = Figures({"gaps:trimmed": 4, "streams_refused:user": 2})
    before = Look([HUB], time=10.0)
    now = Look([{**HUB, "cpu_seconds": 1.5}], [("chat", 1200)], {7: Stored(figures, 1)}, 11)
    found = lines(now, before, {"events": 120.4, "bytes": 41_200_000.0}, 200)
    assert "1 hub of this machine   1,893 streams   2 behind" in found[0]
    assert "120 events/s" in found[1] and "41.2M bytes/s" in found[1]
    assert "- sends/s" in found[1], "it is not known yet"
    assert found[2].startswith("4 gaps   4 trimmed")
    assert found[3].startswith("2 refused") and "2 user" in found[3]
    assert "7      1,893       2  50%  2h 5m" in found
    assert found[-1].split() == ["chat", "1,200"]


def test_hubs_that_do_not_measure_say_how_to_make_them() -> None:
    assert "PUSH_METRICS = True" in "\n".join(lines(Look([HUB]), None, {}, 200, False))


def test_no_line_is_wider_than_the_terminal_or_controls_it() -> None:
    now = Look([HUB, {"pid": "\x1b[2J"}], [("\x1b[2J" + "x" * 100, 3)])
    for width in 1, 20, 80:
        for line in lines(now, None, {}, width):
            assert len(line) <= width and "\x1b" not in line


def test_the_columns_are_straight_beside_characters_that_take_two() -> None:
    now = Look([HUB], [("日本語日本語", 3), ("news", 1200)])
    assert len({*map(width_of, lines(now, None, {}, 200)[-3:])}) == 1
    assert max(map(width_of, lines(now, None, {}, 8))) == 8


def test_times_are_shown_in_their_two_largest_units() -> None:
    times = 59, 61, 3600, 7500, 90_000
    assert [span(time) for time in times] == ["59s", "1m 1s", "1h 0m", "2h 5m", "1d 1h"]
