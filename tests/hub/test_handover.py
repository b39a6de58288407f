"""What a hub gives to its successor, and how the successor begins with it."""

from __future__ import annotations

import inspect
import os

from support.failing import Tracer
from support.hub_failures import end_badly
from support.hub_failures import FailureScene
from support.hub_failures import open_streams
from support.hub_failures import play
from support.hubs import HubScene
from support.hubs import run

from flask_push import Position
from flask_push._hub import handover
from flask_push._hub.hub import Hub
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


class Quick(MemoryBroker):
    """Its clock runs as fast as the test wants."""

    @property
    def retention(self) -> int:
        return 400_000_000

    def pass_by(self, seconds: int) -> None:
        self._last += seconds * 1_000_000


def test_a_hub_that_takes_over_knows_which_ids_its_readers_have() -> None:
    broker = Quick()

    async def test(scene: HubScene) -> None:
        idle, other = await scene.open("idle"), await scene.open("other")

        async def pass_by(seconds: int) -> None:
            broker.pass_by(seconds)
            scene.say("other", "x")
            frozen, hub = scene.hub.freeze(), scene.hub
            scene.hub = Hub(broker, hub.options, hub._loop, frozen)
            end = str(Position(broker._epoch, broker._last))
            await until(lambda: scene.hub.status()["position"] == end)
            scene.hub._timer.tick()
            idle.read()

        # Its id is new enough, so it is not repeated.
        await pass_by(40)
        await pass_by(40)
        assert len(idle.events) == 1
        # Then it is too old, whatever hubs have come and gone.
        await pass_by(40)
        assert [event.type for event in idle.events] == ["push:open", "push:open"]
        await other.until(lambda: len(other.data) == 3)

    run(test, broker=broker, heartbeat=3600)


async def freeze(scene: FailureScene) -> None:
    await open_streams(scene, 3)
    try:
        frozen = scene.hub.freeze()
    except MemoryError:
        # It goes on, or has ended everything.
        scene.say("a", "1")
        await scene.come_to_the_end()
    else:
        for _, fd in frozen.readers:
            os.close(fd)


def test_a_hub_that_cannot_be_frozen_continues_or_ends_its_streams() -> None:
    below = "_hub.hub", "freeze"
    play(freeze, every := Tracer(below=below))
    # Its own lines are followed by the end of the process.
    lines, first = inspect.getsourcelines(handover.freeze)
    own = {("_hub.handover", first + n) for n in range(len(lines))}
    assert len(every.lines.keys() - own) > 20
    for line in every.lines.keys() - own:
        end_badly(freeze, tracer := Tracer(line, below), MemoryBroker())
        assert tracer.raised, line
