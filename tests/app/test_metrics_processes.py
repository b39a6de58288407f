"""The metrics of a real server with four hub processes: what is shown is what happened,
also after a hub was replaced, and after one was killed."""

from __future__ import annotations

import os
import re
import signal
import typing as t
from pathlib import Path
from zlib import crc32

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.hub_processes import replace
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

#: Between two beats. A hub that was killed is gone after four.
SECONDS = 1
COUNTED = re.compile("_total|_count$|_sum$")
HUBS, STREAMS, EVENTS = 4, 12, 50
#: Each hub gets some of them.
USERS = [f"user{number}" for number in range(STREAMS)]
assert len({crc32(user.encode()) % HUBS for user in USERS}) == HUBS


def shown(server: Server) -> dict[str, float]:
    """Of each sample, its value. That of ``gaps_total{reason="trimmed"}`` is named
    ``gaps_total.trimmed``. Of histograms it has the counts and the sums."""
    accept: t.Any = {"Accept": "application/openmetrics-text"}
    code, _, body = server.request("GET", "/metrics", **accept)
    assert code == 200, body
    parse: t.Any = text_string_to_metric_families
    return {
        ".".join(
            [sample.name.removeprefix("flask_push_"), *sample.labels.values()]
        ): sample.value
        for family in parse(body.decode())
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


class Watch:
    """Reads the metrics again and again. What was counted never falls."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last = shown(server)

    def until(self, expected: dict[str, float]) -> dict[str, float]:
        def is_shown() -> bool:
            before, self._last = self._last, shown(self._server)
            for name, value in self._last.items():
                assert not COUNTED.search(name) or value >= before[name], name
            return expected.items() <= self._last.items()

        try:
            until(is_shown, 60)
        except AssertionError:
            found = {name: self._last[name] for name in expected}
            raise AssertionError(f"{found} instead of {expected}") from None
        return self._last


def the_first(directory: Path) -> dict[str, t.Any]:
    """The status of the first hub."""
    found: dict[str, t.Any] = until(lambda: status(directory))
    return found


def test_sums_are_right_over_four_hubs_a_takeover_and_a_kill(tmp_path: Path) -> None:
    config: t.Any = {"PUSH_METRICS": True, "PUSH_HUB_PROCESSES": HUBS}
    env = {"BEAT_SECONDS": str(SECONDS)}
    with serve(
        gunicorn, tmp_path, "-w", "2", app="apps.monitored", env=env, **config
    ) as server:
        readers = {user: server.open_stream("a", user=user) for user in USERS}
        assert len(hubs(tmp_path)) == HUBS
        watch = Watch(server)

        def publish() -> None:
            server.publish("a", *(str(number) for number in range(EVENTS)))
            for reader in readers.values():
                reader.read_data(EVENTS)

        publish()
        found = watch.until(
            {
                **{"hubs": HUBS, "streams": STREAMS, "users": STREAMS, "channels": HUBS},
                **{"streams_opened_total.new": STREAMS, "streams_behind": 0},
                **{"events_total": HUBS * EVENTS, "sends_total": STREAMS * EVENTS},
            }
        )
        assert found["sent_bytes_total"] > found["sends_total"]
        turns = found["feed_lag_seconds_count"]
        assert HUBS <= turns <= HUBS * EVENTS
        assert found["publish_to_write_seconds_count"] == turns

        # A successor goes on with what its predecessor has counted, and with the streams.
        old = the_first(tmp_path)["pid"]
        replace(tmp_path)
        until(lambda: the_first(tmp_path)["pid"] != old)
        publish()
        counted = {"events_total": 2 * HUBS * EVENTS, "sends_total": 2 * STREAMS * EVENTS}
        counted["streams_opened_total.new"] = STREAMS
        watch.until({"hubs": HUBS, "streams": STREAMS, **counted})

        # What a hub has stored stays when it is killed. A worker starts the next one, to
        # which browsers come back.
        first = the_first(tmp_path)
        mine = [user for user in USERS if crc32(user.encode()) % HUBS == 0]
        assert first["streams"] == len(mine)
        os.kill(first["pid"], signal.SIGKILL)
        watch.until({"hubs": HUBS, "streams": STREAMS - len(mine), **counted})
        for user in mine:
            readers[user].read_to_end()
            last_id = readers[user].last_id
            readers[user] = server.open_stream("a", user=user, last_id=last_id)
        counted["streams_opened_total.resumed"] = len(mine)
        watch.until({"hubs": HUBS, "streams": STREAMS, **counted})
        publish()
        counted["events_total"] += HUBS * EVENTS
        counted["sends_total"] += STREAMS * EVENTS
        watch.until({"hubs": HUBS, "streams": STREAMS, **counted})
