"""Results as a table, as JSON, and as plots."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from compare import Row


def figure(value: float) -> str:
    """A number with three digits."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def table(rows: cabc.Sequence[Row]) -> str:
    """Rows in Markdown, with a table for each workload."""
    lines = []
    for name, group in groupby(rows, key=lambda row: row.workload):
        found = list(group)
        lines += ["", f"| {name} | {found[0].unit} | ratio | from – to | |"]
        lines += ["|---|---:|---:|---:|---|"]
        for row in found:
            ratio = spread = ""
            if row.ratios:
                ratio = figure(row.ratio)
                spread = f"{figure(min(row.ratios))} – {figure(max(row.ratios))}"
            value = figure(row.value) if row.values else ""
            note = row.faults or row.absent
            lines.append(f"| {row.server} | {value} | {ratio} | {spread} | {note} |")
    return "\n".join([*lines, ""])


def wide(rows: cabc.Sequence[Row]) -> str:
    """Rows in Markdown, in one table with a column for each server."""
    servers = list(dict.fromkeys(row.server for row in rows))
    lines = [
        "",
        f"| | {' | '.join(servers)} | | |",
        f"|---|{'---:|' * len(servers)}---|---|",
    ]
    for name, group in groupby(rows, key=lambda row: row.workload):
        found = {row.server: row for row in group}
        values = [figure(row.value) if row.values else "" for row in found.values()]
        faults = ", ".join(filter(None, (row.faults for row in found.values())))
        unit = next(iter(found.values())).unit
        lines.append(f"| {name} | {' | '.join(values)} | {unit} | {faults} |")
    return "\n".join([*lines, ""])


_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" \
font-family="sans-serif" font-size="13">
<style>text {{ fill: #222 }} .bar {{ fill: #9ab }} .ours {{ fill: #27a }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} .bar {{ fill: #678 }} \
.ours {{ fill: #5ad }} }}</style>
<text x="0" y="16" font-weight="bold">{title}</text>
{bars}
</svg>
"""
_BAR = """\
<text x="222" y="{y}" text-anchor="end">{name}</text>
<rect class="{color}" x="230" y="{top}" width="{width:.1f}" height="14"/>
<text x="{right:.1f}" y="{y}">{value}</text>"""


def plot(rows: cabc.Sequence[Row]) -> str:
    """The bars of one workload: its ratios, or its values if it has none."""
    shown = [(row, row.ratio or row.value) for row in rows if row.values]
    most = max((value for _, value in shown), default=0) or 1
    bars = []
    for number, (row, value) in enumerate(shown):
        width = 330 * value / most
        bars.append(
            _BAR.format(
                y=44 + 22 * number,
                top=33 + 22 * number,
                name=escape(row.server),
                color="ours" if row.server.startswith("Flask-Push") else "bar",
                width=width,
                right=236 + width,
                value=figure(value),
            )
        )
    unit = "ratio of " + rows[0].unit if shown and shown[0][0].ratios else rows[0].unit
    title = escape(f"{rows[0].workload}: {unit}")
    return _SVG.format(height=44 + 22 * len(shown), title=title, bars="\n".join(bars))


def write(directory: Path, result: dict[str, t.Any], rows: cabc.Sequence[Row]) -> None:
    """Write the files that the docs include."""
    directory.mkdir(parents=True, exist_ok=True)
    whole = {**result, "rows": [row.as_json() for row in rows]}
    (directory / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
    intro = (
        f"`{result['command']}`, on {result['date']}, took {result['seconds']} s:"
        f" {result['system']}, Python {result['python']}, {result['cpus']} processors,"
        " loopback.\n"
    )
    (directory / "results.md").write_text(intro + table(rows))
    for name, group in groupby(rows, key=lambda row: row.workload):
        word = "".join(c if c.isalnum() else "-" for c in name.lower())
        path = directory / f"{'-'.join(filter(None, word.split('-')))}.svg"
        path.write_text(plot(list(group)))
