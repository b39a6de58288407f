"""Who is present, as workers, a command and a Publisher in other processes see it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

from support.commands import flask
from support.each_store import shared_url as shared_url
from support.listeners import in_thread
from support.servers import gunicorn
from support.servers import serve
from support.servers import TESTS
from support.servers import until

from flask_push import connect
from flask_push import Publisher

ROOM = "group:7"


def test_all_processes_see_who_is_present(url: str, tmp_path: Path) -> None:
    config: dict[str, t.Any] = {"PUSH_BROKER_URL": url, "PUSH_PRESENCE_GRACE": 0.5}
    env = {f"FLASK_{name}": json.dumps(value) for name, value in config.items()}
    env |= {**os.environ, "INSTANCE": str(tmp_path)}
    seen: list[tuple[str, object]] = []

    def command(*words: str) -> str:
        command = flask("--app", "apps.online", "push", *words)
        return subprocess.check_output(command, cwd=TESTS, env=env, text=True)

    with (
        serve(gunicorn, tmp_path, "-w", "2", app="apps.online", **config) as server,
        contextlib.closing(Publisher(url, timeout=20)) as publisher,
        publisher.listen(watch=[ROOM]) as listener,
    ):
        address = f"{server.url}/stream?channel={ROOM}"

        def listen() -> None:
            seen.extend((event.type, event.item) for event in listener)

        thread = in_thread(listen)

        def members() -> dict[str, object]:
            found = publisher.presence(ROOM)
            assert found.count == len(found.members)
            return {member.user: member.info for member in found.members.values()}

        with connect(address, headers={"Cookie": "user=ann"}) as ann:
            joined = next(event for event in ann if event.type == "push:joined")
            assert joined.json == {"channel": ROOM, "user": "ann", "info": {"name": "Ann"}}
            assert members() == {"ann": {"name": "Ann"}}
            with connect(address, headers={"Cookie": "user=ben"}) as ben:
                next(ben)
                until(lambda: [*members()] == ["ann", "ben"])
                said = command("presence", ROOM)
                assert said == 'ann {"name": "Ann"}\nben {"name": "Ben"}\n2 present.\n'
            next(event for event in ann if event.type == "push:left")
            assert [*members()] == ["ann"]
            # The browser asks again, and is there before the grace is over.
            command("disconnect", "--channel", ROOM)
        until(lambda: members() == {})
        until(lambda: ("push:left", "ann") in seen)
        listener.close()
        thread.join(20)
    begun = [("push:items", ""), ("push:whole", "")]
    came = [("push:joined", "ann"), ("push:joined", "ben")]
    assert seen == [*begun, *came, ("push:left", "ben"), ("push:left", "ann")]
