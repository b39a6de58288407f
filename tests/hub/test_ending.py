"""How a hub ends its streams."""

from __future__ import annotations

from support.failing import Tracer
from support.hub_failures import end_badly
from support.hub_failures import FailureScene
from support.hub_failures import Nonsense
from support.hub_failures import open_streams
from support.hub_failures import play


def test_streams_that_end_together_get_a_spread_retry() -> None:
    async def story(scene: FailureScene) -> None:
        readers = await open_streams(scene, 40)
        for reader in readers:
            reader.comes_back = False
        scene.say("a", "1")
        await scene.until(lambda: all(reader.endings for reader in readers))
        told = [reader.parser.retry or 0 for reader in readers]
        # At two a second.
        assert 10_000 < max(told) < 22_000

    play(story, Tracer(), Nonsense(), return_rate=2)


async def fail(scene: FailureScene) -> None:
    for reader in await open_streams(scene, 3):
        reader.comes_back = False
    scene.say("a", "1")
    await scene.until(lambda: all(reader.endings for reader in scene.returning))


def test_a_hub_that_cannot_even_end_its_streams_ends_itself() -> None:
    below = "_hub.failstop", "fail"
    end_badly(fail, every := Tracer(below=below), Nonsense())
    assert len(every.lines) > 50
    for line in every.lines:
        end_badly(fail, tracer := Tracer(line, below), Nonsense())
        assert tracer.raised, line
