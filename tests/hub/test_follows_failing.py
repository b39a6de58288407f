"""Whatever fails in a hub while streams follow a run, each client gets all of it, or sees
that it has not."""

from __future__ import annotations

import asyncio
import gc

import pytest
from support import coroutines
from support.failing import Tracer
from support.followed_runs import data
from support.followed_runs import FollowReader
from support.followed_runs import FollowScene
from support.followed_runs import StoredRun
from support.handovers import sent
from support.without_linux.real import descriptors

from flask_push._delivery.options import Options
from flask_push._event import Position
from flask_push._hub import failstop
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until

#: Files that streams of other kinds do not reach, and some that they do.
MODULES = [
    *("_hub.run_reads", "_hub.shared_reads", "_hub.ending"),
    *("_delivery.followed", "_delivery.following", "_delivery.followed_runs"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("_hub.streams", "_hub.starts", "_hub.fanout", "_hub.handover")
    ),
]

TEXTS = [f"{n} ".ljust(n % 7 * 2_000, "x") for n in range(30)]
# More than a socket holds.
TEXTS[12] = "12 ".ljust(300_000, "x")


class ReturningFollower:
    """A client that connects again until it has all of a run. One of the wire ``push``
    resumes, and others begin with the first event."""

    def __init__(self, scene: Failing, run: StoredRun, wire: str) -> None:
        self.scene, self.run, self.wire = scene, run, wire
        self.patient = True
        self.all: list[str] = []
        self.connect("")

    def connect(self, last_id: str) -> None:
        position = Position.parse(last_id)
        after = position.number if last_id else None
        self.reader: FollowReader = self.scene.follow(self.run, self.wire, after)

    @property
    def has_ended(self) -> bool:
        """Whether it has been sent the end of its run."""
        if self.wire == "push":
            return self.reader.statuses[-1:] == ["done"]
        return self.reader.is_whole

    def read(self) -> bool:
        """Whether it needs nothing more."""
        reader = self.reader
        if self.patient:
            reader.read()
        if not reader.ended:
            return False
        if self.has_ended:
            return True
        self.scene.returned += 1
        self.all += data(reader) if self.wire == "push" else []
        self.connect(reader.last_id)
        return False

    @property
    def got(self) -> list[str]:
        return self.all + data(self.reader)


class Failing(FollowScene):
    #: How often a client has connected again, and the failures of hubs before.
    returned = earlier = 0

    @property
    def is_slow(self) -> bool:
        """Whether the sockets of clients are full that read nothing, if nothing fails."""
        slow = sum(connection.blocked for connection in self.connections)
        return slow >= 2 or self.failures > 0

    @property
    def failures(self) -> int:
        return self.earlier + self.hub.failures

    def replace_hub(self) -> None:
        before, state = self.hub, self.hub.freeze()
        self.earlier += before.failures
        self.hub = self.make_hub(sent(state))


async def story(scene: Failing) -> None:
    """What happens to streams that follow a run, in short."""
    run = scene.begin()
    for text in TEXTS[:10]:
        run.write(text)
    clients = [ReturningFollower(scene, run, w) for w in ("push", "openai", "ag-ui")]
    slow = [ReturningFollower(scene, run, wire) for wire in ("push", "openai")]
    for client in slow:
        client.patient = False
    await until(lambda: [c.read() for c in clients] and all(c.got for c in clients))
    for text in TEXTS[10:20]:
        run.write(text)
        await asyncio.sleep(0)
    clients.append(ReturningFollower(scene, run, "openai"))
    await until(lambda: scene.hub.whole and scene.is_slow)
    scene.replace_hub()
    for text in TEXTS[20:]:
        run.write(text)
        await asyncio.sleep(0)
    run.end()
    for client in slow:
        client.patient = True
    everyone = clients + slow
    await until(lambda: all([client.read() for client in everyone]))
    for client in everyone:
        assert client.got == TEXTS


def play(tracer: Tracer) -> Failing:
    async def main() -> Failing:
        # The log can't keep all of the run.
        scene = Failing(MemoryBroker(), Options(log_bytes=20_000))
        try:
            with tracer:
                await asyncio.wait_for(story(scene), 20)
            return scene
        finally:
            scene.close()

    gc.collect()
    before = descriptors()
    scene = coroutines.run(main())
    assert descriptors() == before, "a descriptor is left open"
    return scene


def test_without_an_exception_no_stream_that_follows_a_run_fails() -> None:
    scene = play(Tracer())
    assert (scene.failures, scene.returned) == (0, 0)


@pytest.mark.parametrize("name", MODULES)
def test_an_exception_at_any_line_loses_no_event_of_a_run(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failstop, "_MIN_DELAY_SECONDS", 0.001)
    play(tracer := Tracer())
    lines = [line for line in tracer.lines if line[0] == name]
    assert lines
    for line in lines:
        caplog.clear()
        scene = play(tracer := Tracer(line))
        # What the system does may differ: a line may not be reached the second time.
        if tracer.raised:
            assert scene.failures == 1, line
