"""Hubs that write to the store more often, so that a test sees soon that one is dead.

It is imported by hub processes, which know the seconds by ``BEAT_SECONDS``. Everything that
is counted in beats is as many beats as otherwise.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os

from flask_push._delivery import figure_record
from flask_push._delivery import hub_record
from flask_push._delivery import other_hubs
from flask_push._delivery import presence_plan
from flask_push._handoff import spawn

_RUN = "from flask_push._run import main\n"


def in_hubs() -> None:
    """Shorten the beats of all hubs that this process starts, if a test wants it."""
    text = "import support.short_beats\nsupport.short_beats.here()\n"
    if "BEAT_SECONDS" in os.environ and text not in spawn._CODE:
        assert spawn._CODE.count(_RUN) == 1
        spawn._CODE = spawn._CODE.replace(_RUN, text + _RUN)


@contextlib.contextmanager
def of(seconds: float) -> cabc.Iterator[None]:
    """Shorten the beats of all hubs that this process, or one that it starts, starts."""
    code = spawn._CODE
    os.environ["BEAT_SECONDS"] = str(seconds)
    try:
        in_hubs()
        yield
    finally:
        # Hubs that later tests start would not find the variable.
        del os.environ["BEAT_SECONDS"]
        spawn._CODE = code


def here() -> None:
    """Shorten the beats of the hub of this process."""
    seconds, usual = float(os.environ["BEAT_SECONDS"]), presence_plan.BEAT_SECONDS
    hub_record._LATE_SECONDS *= seconds / usual
    figure_record.GONE_SECONDS *= seconds / usual
    figure_record.LOOK_SECONDS *= seconds / usual
    for module in presence_plan, hub_record, other_hubs, figure_record:
        assert vars(module)["BEAT_SECONDS"] == usual
        vars(module)["BEAT_SECONDS"] = seconds
