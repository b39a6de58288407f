"""The tests of the hub, in processes that lack what Windows or macOS lacks.

They are those that need no second process, no nginx and no privileges. What is not run has
its reason below.
"""

from __future__ import annotations

import pytest
from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import run_tests

FILES = {
    "hub": (
        *("hub/test_hub.py", "hub/test_fanout.py", "hub/test_starts.py"),
        *("hub/test_partial_frames.py", "hub/test_timer.py", "hub/test_loop.py"),
    ),
    "connections": ("hub/test_connection.py", "hub/test_limits.py", "hub/test_poller.py"),
    "app": (
        *("handoff/test_relay.py", "app/test_response.py", "testing/test_reader.py"),
        *("hub/test_feeding.py", "hub/test_ending.py", "hub/test_handover.py"),
    ),
}

#: By system or for both: tests that can't run there, and why.
LEFT_OUT = {
    "both": {
        # The test calls the hub at a moment at which only epoll knows that they have left.
        "hub/test_starts.py": [
            "test_nothing_is_left_of_browsers_that_leave_before_their_channels_are_watched"
        ],
        "hub/test_connection.py": [
            # Without epoll, each stream has objects of the loop.
            "test_an_idle_stream_takes_half_a_kilobyte",
        ],
        # It asks for an option that Linux alone has.
        "hub/test_limits.py": ["test_sockets_are_bounded"],
        # On macOS its servers would wait: they write more than a pair of sockets holds.
        # And Windows has no poll() that would find them together.
        "hub/test_poller.py": ["test_drains_that_servers_have_closed_are_closed_together"],
    },
    "windows": {
        "hub/test_connection.py": [
            # No other process has a copy there.
            "test_a_stream_ends_though_another_process_has_a_copy_of_its_socket",
            # The number of a file is never that of a socket.
            "test_a_descriptor_that_cannot_be_polled_is_closed",
        ],
        # They are about hubs in processes.
        "hub/test_ending.py": ["test_a_hub_that_cannot_even_end_its_streams_ends_itself"],
        "hub/test_handover.py": [
            "test_a_hub_that_cannot_be_frozen_continues_or_ends_its_streams"
        ],
    },
    "macos": {},
}


def left_out(system: str, file: str) -> list[str]:
    names = LEFT_OUT["both"].get(file, []) + LEFT_OUT[system].get(file, [])
    return [f"--deselect=tests/{file}::{name}" for name in names]


@pytest.mark.parametrize("part", FILES)
def test_the_tests_of_streams_pass_there(elsewhere: str, part: str) -> None:
    files = FILES[part]
    words = [word for file in files for word in left_out(elsewhere, file)]
    # Compression is the same everywhere.
    words += ["-k", "not gzip"]
    assert run_tests(elsewhere, *words, *(f"tests/{file}" for file in files)) > 20
