"""The command that lists the open streams of this machine."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from dataclasses import replace
from pathlib import Path

import click

from ._cli_hubs import find_hubs
from ._cli_hubs import no_hub
from ._cli_hubs import of_socket
from ._command import failure
from ._ipc.files import HubFiles
from ._ipc.listing_protocol import ListStreams
from ._ipc.status import streams_of
from ._system.terminal import padded
from ._system.terminal import shown
from ._system.terminal import width_of
from ._top_screen import span

_COLUMNS = "id", "user", "session", "open", "place", "held", "channels"
# Characters of a session that are shown. It may be what proves a login.
_SESSION = 6


@click.command()
@of_socket
@click.option("--user", help="Only streams of this user.")
@click.option("--session", help="Only streams of this session.")
@click.option("--channel", help="Only streams of this channel.")
@click.option(
    "--limit",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="Show so many streams, and count the others.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON for each stream."
)
@click.pass_context
def streams(
    context: click.Context,
    path: Path | None,
    limit: int,
    as_json: bool,
    user: str | None,
    session: str | None,
    channel: str | None,
) -> None:
    """List the open streams of this machine's hubs.

    The status of the command is 1 if no hub is running.
    """
    asked = ListStreams(user=user, session=session, channel=channel)
    rows: list[dict[str, t.Any]] = []
    more = 0
    problems: list[str] = []
    for files in find_hubs(context, path):
        for page, matching in _pages(files, asked, limit, rows, problems):
            more += matching - len(page)
            if as_json:
                for row in page:
                    click.echo(json.dumps(row))
    if not as_json:
        for line in _table(rows):
            click.echo(shown(line))
        if not rows and not more and not problems:
            click.echo("No stream is open here, or none that matches.")
    if more:
        click.echo(f"and {more:,} more. --limit shows more of them.", err=as_json)
    if problems:
        raise failure(" ".join(problems))


def _pages(
    files: HubFiles,
    asked: ListStreams,
    limit: int,
    rows: list[dict[str, t.Any]],
    problems: list[str],
) -> cabc.Iterator[tuple[list[dict[str, t.Any]], int]]:
    """Each page of a hub's streams, and how many match there.

    :param rows: Those that were found so far, to which this adds.
    :param problems: To which this adds a sentence if the hub does not answer. It must not
        hide the streams of the others.
    """
    after: int | None = asked.after
    while after is not None:
        try:
            asked = replace(asked, after=after, most=limit - len(rows))
            page = streams_of(files, asked)
        except OSError as error:
            problems.append(no_hub(files, error))
            return
        rows += page.streams
        yield page.streams, page.matching
        after = page.next


def _table(rows: list[dict[str, t.Any]]) -> cabc.Iterator[str]:
    """Lines of equal columns. The last one is as long as it is."""
    if not rows:
        return
    cells = [_COLUMNS, *map(_cells, rows)]
    columns = range(len(_COLUMNS) - 1)
    widths = [max(width_of(shown(row[n])) for row in cells) for n in columns]
    for row in cells:
        pairs = zip(row, widths, strict=False)
        yield "  ".join([*(padded(shown(c), width) for c, width in pairs), row[-1]])


def _cells(row: dict[str, t.Any]) -> tuple[str, ...]:
    session = row["session"] or "-"
    short = f"{session[:_SESSION]}…" if len(session) > _SESSION else session
    names = [*row["channels"], *([f"and {row['more']} more"] if row["more"] else [])]
    held = f"{row['held']}, poll" if row["poll"] else row["held"]
    about = row["id"], row["user"] or "-", short, span(row["seconds"]), row["place"], held
    return *map(str, about), ", ".join(names)
