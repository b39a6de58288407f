"""Pages of history that a hub asks a Redis for: when the sink gets them."""

from __future__ import annotations

from support.redis_ends import joined
from support.redis_ends import LOG
from support.redis_ends import OtherEnd
from support.redis_ends import own_page
from support.redis_ends import Question
from support.redis_ends import run

from flask_push.brokers.redis import scripts
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import until


def answer(question: Question, reach: int, epoch: str = "one") -> None:
    """With a page without events that reaches up to this number."""
    question.answer(*joined(epoch, reach)[:7], ["1", "unknown"], [], "1")


def test_a_page_that_reaches_beyond_the_end_waits_for_the_own_log() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        reached: list[int] = []
        hub.feed.read(["a"], lambda page: reached.append(page.reach), after=0)
        answer(await other.asked(scripts.READ), 20)
        # The page was read after this entry was appended.
        reading = await other.asked(scripts.READ_OWN)
        assert not reached
        reading.answer(*own_page("one", 21, 10, ["15:x"]))
        join = await other.asked(scripts.READ)
        await until(lambda: hub.entries_of(LOG) == [(15, b"x")])
        assert not reached
        join.answer(*joined("one", 21))
        await until(lambda: reached == [20])
        # One that reaches no further than what the sink has does not wait.
        hub.feed.read(["a"], lambda page: reached.append(page.reach), after=0)
        answer(await other.asked(scripts.READ), 21)
        await until(lambda: reached == [20, 21])

    run(test)


def test_a_page_that_waits_is_read_again_in_another_epoch() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        found: list[str] = []
        hub.feed.read(["a"], lambda page: found.append(page.epoch), after=0)
        answer(await other.asked(scripts.READ), 20)
        await other.begin("two", 30)
        while not found:
            question = await other.asked(scripts.READ)
            if question.args[5] == b"0":
                answer(question, 30, "two")
                await until(lambda: found)
            else:
                # It is a tick.
                (await other.asked(scripts.READ_OWN)).answer(*own_page("two", 30))
                question.answer(*joined("two", 30))
        assert found == ["two"]

    run(test)


def test_a_page_that_waits_is_read_again_on_another_connection() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        found: list[int] = []
        hub.feed.read(["a"], lambda page: found.append(page.reach), after=0)
        answer(await other.asked(scripts.READ), 20)
        await other.asked(scripts.READ_OWN)
        other.cut()
        await other.begin("one", 30)
        answer(await other.asked(scripts.READ), 30)
        await until(lambda: found)
        assert found == [30]

    run(test)
