"""What the system has of what Linux has, whatever gevent has removed from its modules."""

from __future__ import annotations

import select
import sys
import types
import typing as t

import pytest

from flask_push._system import abilities


def test_linux_has_all_that_a_hub_process_needs() -> None:
    assert abilities.has_epoll()
    assert abilities.why_no_hub_process() == abilities.why_no_unix_sockets() == ""


@pytest.mark.parametrize("removed", [True, False])
def test_what_gevent_has_removed_is_there(
    removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gevent: t.Any = types.ModuleType("gevent.monkey")
    gevent.is_object_patched = lambda *names: removed and names == ("select", "epoll")
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)
    monkeypatch.delattr(select, "epoll")
    assert abilities.has_epoll() is removed
    assert bool(abilities.why_no_hub_process()) is not removed
