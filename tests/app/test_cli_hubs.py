"""Commands find the hubs of this machine, or say why there is none to ask."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.commands import failed
from support.commands import Run
from support.commands import run as run

from flask_push import _cli_hubs
from flask_push._ipc.files import HubFiles


@pytest.mark.parametrize("command", ["status", "stop", "streams"])
def test_an_app_whose_hub_is_a_thread_has_no_hub_to_ask(command: str, run: Run) -> None:
    assert "hub is a thread" in failed(run(command, PUSH_HUB="thread"))
    assert "hub is a thread" in failed(run(command, PUSH_BROKER_URL="memory:"))


def test_a_socket_without_permission_is_named() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    said = _cli_hubs.no_hub(HubFiles(Path("/x.sock")), error)
    assert said == (
        "The hub at /x.sock may not be used: Permission denied. Run this command as the"
        " user who runs the app."
    )
