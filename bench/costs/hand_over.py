"""What the system alone takes to hand a client over from one process to another.

The row `connect` shows what Flask-Push takes: its worker, and its hub.
"""

from __future__ import annotations

import json
import subprocess
import sys

from compare import by_figure
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns
from processes import HERE


def hand_over(scale: Scale) -> list[Row]:
    """Microseconds of two programs that do nothing else."""

    def measure() -> Result:
        words = [sys.executable, "-P", HERE / "apps" / "hand_over.py", scale.small]
        found = json.loads(subprocess.check_output(list(map(str, words))))
        return Result(found["takes"], found)

    unit = "µs of CPU"
    row = Row("handing a client over", "the hub's part, without Flask-Push", unit)
    take_turns([(row, measure)], scale.rounds)
    (other,) = by_figure([row], "the worker's part", unit, "gives")
    other.server = "the worker's part, without Flask-Push"
    return [row, other]
