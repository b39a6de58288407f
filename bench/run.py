"""Measures Flask-Push and others, side by side in one run.

    python bench/run.py              everything, in less than half an hour
    python bench/run.py --quick      the least that says something, in two minutes
    python bench/run.py fan_out --servers nchan node

Results go to docs/bench, with --write, and are printed in any case.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import sys
import time
import typing as t
from pathlib import Path

import report
from machine import build
from machine import CPUS
from machine import HERE
from turns import Row
from turns import Scale
from workloads import WORKLOADS

_QUICK = "fan_out", "fan_out_joined", "many_channels", "steady", "storm"
_QUICK_KINDS = "Flask-Push, hub alone", "Flask-Push", "nchan", "node"
_OURS = "Flask-Push, hub alone", "Flask-Push", "Flask-Push on Redis", "C, joined"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python bench/run.py")
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS)
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a few readers, for the tests")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one server's turn")
    parser.add_argument("--small", type=int, help="readers, instead of 1,000")
    parser.add_argument("--large", type=int, help="readers, instead of 10,000")
    parser.add_argument("--servers", nargs="*", help="beside the bare C server")
    parser.add_argument("--without", nargs="*", help="not these")
    parser.add_argument("--before", help="the src of another version, to compare with")
    parser.add_argument("--ours", action="store_true", help="no servers but ours")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=HERE.parent / "docs" / "bench"
    )
    given = parser.parse_args(arguments)
    names = given.workloads or (_QUICK if given.quick else list(WORKLOADS))
    if unknown := set(names) - set(WORKLOADS):
        parser.error(f"no workload is called {', '.join(sorted(unknown))}")
    build()
    started, scale = time.monotonic(), scale_of(given)
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", end="", flush=True, file=sys.stderr)
        begun = time.monotonic()
        found = WORKLOADS[name](scale)
        print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
        rows += found
        print(report.table(found), flush=True)
        if given.write:
            # Each time, so that what breaks off has not been in vain.
            report.write(given.write, about(time.monotonic() - started), rows)
    return 1 if any(row.faults for row in rows) else 0


def scale_of(given: argparse.Namespace) -> Scale:
    scale: dict[str, t.Any] = {"rounds": 7, "seconds": 0.5}
    if given.quick:
        scale.update(rounds=3, seconds=0.4, kinds=_QUICK_KINDS)
    if given.tiny:
        scale.update(rounds=1, seconds=0.1, small=20, large=50, fleet=50)
        scale["kinds"] = ("Flask-Push, hub alone", "Flask-Push")
    for name in "rounds", "seconds", "small", "large", "before", "without":
        if getattr(given, name) is not None:
            scale[name] = getattr(given, name)
    if given.servers or given.ours:
        scale["kinds"] = tuple(given.servers or _OURS)
    return Scale(**scale)


def about(seconds: float) -> dict[str, t.Any]:
    """What has to be known of a run."""
    return {
        "command": shlex.join(["python", "bench/run.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds),
        "cpus": len(CPUS),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
