"""Laws 5 to 14, held by Hypothesis against :mod:`world`."""

from __future__ import annotations

import types
import typing as t

import pytest
from hypothesis import Phase
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support.laws import Laws
from support.laws import tell
from support.mutants import mutated


def hold(log: types.ModuleType | None, examples: int) -> None:
    run_state_machine_as_test(
        type("Mutated", (Laws,), {"log": log}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            # Explaining a failure takes longer than all the rest.
            phases=set(Phase) - {Phase.explain},
            report_multiple_bugs=False,
        ),
    )


def test_every_interleaving_keeps_the_promise() -> None:
    hold(None, examples=1000)


@pytest.mark.slow
def test_very_many_interleavings_keep_the_promise() -> None:
    hold(None, examples=50_000)


class Mutant(t.NamedTuple):
    """A law taken out of the source, and the shortest story that misses it."""

    law: str
    story: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "5 channels are merged by number",
        "start 0; connect 0 a nothing; watch 0 1; publish a; publish a",
        "self.turn.append(piece)",
        "self.turn.insert(0, piece)",
    ),
    Mutant(
        "5 replay is merged by number",
        "start 0; publish a; publish b; connect 0 ab earlier 2; trim b 1",
        "groupby(merge(*sources, key=number_of), key=number_of)",
        "groupby((p for s in sources for p in s), key=number_of)",
    ),
    Mutant(
        "5 replay reads no further than the end",
        "start 600; connect 1 a page; publish a; watch 1 1; publish a; answer 0 2",
        "reach = min(reach, page.reach)",
        "reach = page.reach",
    ),
    Mutant(
        "5 live begins at the end",
        "start 0; connect 0 a nothing; watch 0 1; elsewhere; feed 0 1; publish a; "
        "lose 0 1 1; publish b",
        "return self._read_end(sub) if reach == log.end else None",
        "return []",
    ),
    Mutant(
        "6 nothing before all channels are held",
        "start 0; connect 1 ab nothing; watch 1 1; publish b",
        "if not group.missing:",
        "if group.missing >= 0:",
    ),
    Mutant(
        "6 a hole in the feed shows",
        "start 0; connect 0 a nothing; watch 0 1; publish a; lose 0 1 1; watch 0 1",
        "if prev > channel.last and prev > self.proved:",
        "if False:",
    ),
    Mutant(
        "6 no end passes a hole",
        "start 0; connect 1 ab nothing; watch 1 2; publish b; publish b; "
        "lose 1 1 1; publish a",
        "if self.hole and entry.prev is not None:",
        "if False:",
    ),
    Mutant(
        "6 what is behind a reader is told, not filled in",
        "start 0; connect 1 a nothing; watch 1 1; publish a; lose 1 1 1; publish b",
        "channel.lose(number)\n                frame = None",
        "frame = self.encode(entry, self.epoch, number)",
    ),
    Mutant(
        "6 also to a reader whom the log does not reach",
        "start 0; connect 0 a nothing; watch 0 1; transient a; publish a; "
        "transient a; publish b; lose 0 3 1",
        "if after < cursor < upto <= self.floor:",
        "if False:",
    ),
    Mutant(
        "6 a reader gets the first of two gaps, not the second",
        "start 0; replace 0; connect 0 ab nothing; watch 0 2; publish b; publish a; "
        "lose 0 1 1; publish a; publish b; replace 0; replace 0; lose 0 1 1; publish b; "
        "replace 0; lose 0 1 1",
        "                return upto\n        return 0",
        "                return self.lost[-1][1]\n        return 0",
    ),
    Mutant(
        "7 a position that the store has is honoured",
        "start 0; publish a; connect 0 a nothing; lose 0 1 1; watch 0 1; "
        "connect 0 a page; answer 0 1",
        "end = max(end, page.end)",
        "pass",
    ),
    Mutant(
        "7 a position that it has not is nowhere",
        "start 0; connect 0 a future",
        "elif position.epoch == log.epoch and position.number <= end:",
        "elif position.epoch == log.epoch:",
    ),
    Mutant(
        "8 a log begins at the end at which it was joined",
        "start 0; connect 0 a page; publish a",
        "channel.hold(self.end)\n            for group",
        "channel.hold(0)\n            for group",
    ),
    Mutant(
        "9 half a frame is followed by its rest",
        "start 0; connect 0 a nothing 1 0; watch 0 1; epoch",
        "self.rest = rest_of(frame, written)",
        "self.rest = b''",
    ),
    Mutant(
        "9 the rest is of one frame, and the cursor behind it",
        "start 0; connect 0 a nothing 1 0; grant 0 83; watch 0 1; publish a; watch 0 1",
        "self.rest = rest_of(frame, written)\n                    self.cursor = number",
        "self.rest = rest_of(frame, written)",
    ),
    Mutant(
        "10 the successor begins where the other ended",
        "start 0; replace 0; lose 0 1 1; connect 0 a page",
        "log.epoch, log.birth, log.end, channels, items = self",
        "log.epoch, log.birth, log.end, channels, items = self; log.end += 1",
    ),
    Mutant(
        "10 a hub whose end is in doubt is not replaced",
        "start 0; connect 0 ab nothing; watch 0 2; publish b; lose 0 1 1; "
        "connect 0 a nothing; publish a; watch 0 1; replace 0; lose 0 1 1; publish b; "
        "watch 0 1",
        "return self.proved == self.end and not self.hole",
        "return True",
    ),
    Mutant(
        "10 a reader in an older epoch gets a gap for the new one",
        "start 0; connect 1 a nothing; watch 1 1; epoch; connect 1 a nothing 1 0; "
        "lose 1 1 1; replace 1",
        "return cls(log.epoch, log.birth,",
        "return cls(log.epoch, 0,",
    ),
    Mutant(
        "11 the opening has the position that replay starts from",
        "start 0; connect 0 a page; cut 0; publish a; back 0 0",
        "here = Position(log.epoch, sub.cursor)",
        "here = Position(log.epoch, log.end)",
    ),
    Mutant(
        "12 a gap has the number since which the channel is whole",
        "start 0; connect 0 a page; publish a; elsewhere; elsewhere; elsewhere; "
        "publish a; elsewhere",
        "(since, Gap((name,), reason))\n        for",
        "(reach, Gap((name,), reason))\n        for",
    ),
    Mutant(
        "12 gaps that share a number are one frame",
        "start 0; connect 0 ab page; publish b; trim b 1",
        "gaps = [piece for piece in pieces if isinstance(piece, Gap)]",
        "gaps = [piece for piece in pieces if isinstance(piece, Gap)][:1]",
    ),
    Mutant(
        "12 a new epoch is a gap",
        "start 0; connect 0 a nothing; watch 0 1; epoch; publish a",
        'self._send_gap(sub, "restarted", log.birth)',
        "sub.cursor = log.birth",
    ),
    Mutant(
        "12 an opening before a gap for all has no position",
        "start 0; connect 0 a garbage",
        "wire.opening(connection_id, names, None, items, watch)",
        "wire.opening(connection_id, names, Position(log.epoch, end))",
    ),
    Mutant(
        "12 only the store knows which gaps another hub has not sent",
        "start 600; connect 0 ab page; publish a; watch 0 2; connect 0 a nothing; "
        "publish a; cut 0; back 0 0; publish a; elsewhere; elsewhere; elsewhere; "
        "publish b; trim b 1; elsewhere",
        "if since > max(channel.floor, sub.cursor):",
        "if False:",
    ),
    Mutant(
        "13 idle readers are given newer ids",
        "start 0; connect 1 a nothing; watch 1 1; elsewhere; feed 1 1; cut 0",
        "if group.last_id_number < oldest",
        "if False",
    ),
    Mutant(
        "14 a transient event has the end for its position",
        "start 600; connect 0 a nothing; watch 0 1; publish a; transient a",
        "if frame := self.encode(entry, self.epoch, self.end):",
        "if frame := self.encode(entry, self.epoch, self.end - 1):",
    ),
    Mutant(
        "14 a reader that is behind skips it",
        "start 600; connect 0 ab nothing; watch 0 2; transient a; transient a; "
        "transient a; transient a; publish b; publish b; lose 0 3 2; publish a; "
        "transient b; lose 0 1 1",
        "_show(channel, (self.end, frame), touched)",
        "self._put(channel, (self.end, frame), touched)",
    ),
    Mutant(
        "a page that does not reach the log is not put before it",
        "start 10000; publish a; publish a; connect 0 a earlier 9; watch 0 1; answer 0 1",
        "if since < channel.floor <= page.reach:",
        "if since < channel.floor:",
    ),
    Mutant(
        "what excludes one reader is sent to the next",
        "start 10000; connect 0 a nothing 1 100000 B; watch 0 1; connect 0 a page; "
        "answer 0 1; connect 0 a page 1 100000 B; answer 0 1; cut 1; cut 1; publish a; "
        "spare A a; feed 0 9; back 0 0; answer 0 3; back 0 0; answer 0 3",
        "not isinstance(pieces[0], (ExcludingFrame, Gap))",
        "True",
    ),
    Mutant(
        "what is read once is read for one set",
        "start 10000; publish a; publish b; connect 0 a nothing; connect 0 a earlier 9; "
        "connect 0 ab earlier 9; connect 0 a earlier 9; connect 0 ab earlier 9; watch 0 2; "
        "answer 0 3; answer 0 3; answer 0 3; answer 0 3",
        "if group is not sub.group or epoch != sub.epoch:",
        "if epoch != sub.epoch:",
    ),
    Mutant(
        "6 who is past what is missing is told, though others have read it",
        "start 0; connect 0 ab nothing 1 0 A; connect 0 ab nothing 1 100 B; watch 0 2; "
        "publish a; publish b; lose 0 1 1; publish a; feed 0 9; grant 0 100000; "
        "answer 0 3; grant 1 100000; answer 0 3",
        "if not gaps(proofs, sub.cursor, reach) and (known",
        "if (known",
    ),
    Mutant(
        "replay excludes as well",
        "start 0; spare A a; connect 0 a earlier 2",
        "frame = sub.unless_excluded(self._render(number, pieces))",
        "frame = self._render(number, pieces)",
    ),
    Mutant(
        "the excluded receive nothing while they are live",
        "start 0; connect 0 a nothing; watch 0 1; spare A a",
        "elif isinstance(piece[1], ExcludingFrame):",
        "elif False:",
    ),
    Mutant(
        "who reads gzip is one of those who do",
        "start 0; connect 0 a nothing; connect 0 a nothing 1 100000 A gzip",
        'return "gzip", frozenset(names)',
        "return frozenset(names)",
    ),
    Mutant(
        "frames for a single reader are compressed",
        "start 0; connect 0 a nothing 1 100000 A gzip",
        "        return block(data)",
        "        return data",
    ),
    Mutant(
        "a rest is not compressed again",
        "start 0; connect 0 a nothing 1 100000 A gzip; watch 0 1; publish a",
        "return frames if self.rest else self.group.pack(frames)",
        "return self.group.pack(frames)",
    ),
    Mutant(
        "9 a block that is out is all of its frames",
        "start 0; connect 0 a nothing 1 100 A gzip; watch 0 1; publish a; publish a; "
        "feed 0 9",
        "size, last = size + len(frame), number",
        "size, last = size + len(frame), last or number",
    ),
    Mutant(
        "9 half a block is followed by its rest",
        "start 0; connect 0 a nothing 1 0 A gzip; grant 0 75; watch 0 1; publish a; "
        "watch 0 1; grant 0 20",
        "self.rest = rest_of(frame, written)\n                    self.cursor = number",
        "self.cursor = number",
    ),
    Mutant(
        "13 a block has the number of an event, and of none that follows",
        "start 10000; publish a; elsewhere; elsewhere; "
        "connect 0 a earlier 25 100000 A gzip; watch 0 1; answer 0 3; cut 0",
        "            if frame:\n                data.append(frame)",
        "            if True:\n                data.append(frame)",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_law_taken_out_is_missed(mutant: Mutant) -> None:
    tell(mutant.story, None)
    log = mutated(mutant.old, mutant.new)
    with pytest.raises(AssertionError):
        tell(mutant.story, log)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_law_taken_out_is_missed_without_a_story(mutant: Mutant) -> None:
    with pytest.raises(AssertionError):
        hold(mutated(mutant.old, mutant.new), examples=30_000)
