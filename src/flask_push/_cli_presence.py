"""The command that shows who is present."""

from __future__ import annotations

import json

import click

from ._command import check_reach
from ._command import failure
from ._command import load
from ._presence import Presence
from ._system.terminal import shown


@click.command()
@click.argument("channel")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.pass_context
def presence(context: click.Context, channel: str, as_json: bool) -> None:
    """Show who is present on a channel.

    Each line is a user, with what the app shows of the user as JSON. The status of the
    command is 1 if the store can't be read.
    """
    app, extension = load(context)
    check_reach(app, extension, "this command can't see who is present")
    with app.app_context():
        try:
            found = extension.presence(channel)
        except Exception as error:
            raise failure(error) from error
    if as_json:
        click.echo(_to_json(found))
        return
    for member in found.members.values():
        click.echo(shown(f"{member.user} {json.dumps(member.info, ensure_ascii=False)}"))
    listed = len(found.members)
    more = f", {listed:,} of whom are listed" if listed != found.count else ""
    click.echo(f"{found.count:,} present{more}.")


def _to_json(presence: Presence) -> str:
    members = [{"user": m.user, "info": m.info} for m in presence.members.values()]
    whole = {"members": members, "count": presence.count, "position": presence.position}
    return json.dumps(whole)
