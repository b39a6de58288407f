"""The commands that request a stream, as a browser would: ``doctor`` and ``tail``."""

from __future__ import annotations

import json
import re
import typing as t

import click
from flask import Flask

from ._app_directory import Place
from ._app_hub import check
from ._app_hub import choose
from ._app_hub import files_of
from ._app_hub import why_development
from ._command import failure
from ._command import load
from ._config import Config
from ._doctor.finding import Finding
from ._doctor.finding import problem
from ._doctor.machine import AppCheckup
from ._doctor.stream import StreamCheckup
from ._event import Event
from ._event import UNSET
from ._system.terminal import shown
from .client import connect
from .client import Refused
from .client.address import Address
from .sse import ParseError

_HEADER = 'Send this header, such as "Cookie: session=…"; may be repeated.'


@click.command()
@click.argument("url", required=False)
@click.option("--header", "headers", multiple=True, help=_HEADER)
@click.option("--quick", is_flag=True, help="Don't wait for a heartbeat.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
@click.pass_context
def doctor(
    context: click.Context,
    url: str | None,
    headers: tuple[str, ...],
    quick: bool,
    as_json: bool,
) -> None:
    """Say what is wrong, and what cures it.

    The doctor examines the app and its machine. With the URL of a stream, it requests
    the stream as a browser would. The status of the command is 1 if there is an error.
    """
    address = None if url is None else _address(url, headers)
    found = []
    for finding in _examine(context, address, quick):
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.level:5}  {finding.name}: {finding.what}")
            for cure in finding.cures:
                click.echo(f"       -> {cure}")
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found]))
    if any(finding.level == "error" for finding in found):
        context.exit(1)


def _examine(
    context: click.Context, address: Address | None, quick: bool
) -> t.Iterator[Finding]:
    try:
        app, _ = load(context)
        checkup = _checkup_of(app)
    except (ValueError, RuntimeError, click.ClickException) as error:
        text = error.message if isinstance(error, click.ClickException) else str(error)
        yield problem("config", error=text)
        return
    try:
        yield from checkup.examine()
        if address is not None:
            yield from StreamCheckup(address, checkup.facts(), quick).examine()
    finally:
        checkup.close()


def _checkup_of(app: Flask) -> AppCheckup:
    config = Config.read(app.config)
    check(config)
    url, kind = choose(app, config)
    place = Place.of(app)
    return AppCheckup(
        config,
        testing=app.testing,
        url=url,
        kind=kind,
        development=why_development(app, config),
        directory=place.directory(config),
        doubts=place.doubts(config) if url == "sqlite:" else (),
        all_files=files_of(app, config),
    )


def _address(url: str, headers: tuple[str, ...]) -> Address:
    try:
        return Address(url.partition("#")[0], _split(headers))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _split(headers: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not re.fullmatch(r"[\w-]+", name, re.A):
            # The text after the name may be a password.
            name = name.split(" ")[0]
            raise click.UsageError(f"{name!r} is not a header such as 'Name: value'.")
        name, value = name.title(), value.strip()
        between = "; " if name == "Cookie" else ", "
        found[name] = between.join(filter(None, [found.get(name), value]))
    return found


@click.command()
@click.argument("url")
@click.option(
    "--channel", "channels", multiple=True, help="Ask for this channel; may be repeated."
)
@click.option("--last-id", default="", help="Begin after the event with this id.")
@click.option("--header", "headers", multiple=True, help=_HEADER)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON for each event."
)
def tail(
    url: str,
    channels: tuple[str, ...],
    last_id: str,
    headers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the events of a stream as they come, until Ctrl-C.

    It reconnects by itself, and misses nothing. The status of the command is 1 if the
    server refuses.
    """
    try:
        source = connect(url, channels=channels, headers=_split(headers), last_id=last_id)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        with source:
            for event in source:
                click.echo(_to_json(event) if as_json else _to_line(event))
    except KeyboardInterrupt:
        pass
    except (Refused, ParseError) as error:
        raise failure(error) from error


def _to_json(event: Event) -> str:
    names = "id", "channel", "item", "type", "data"
    return json.dumps({name: getattr(event, name) for name in names})


def _to_line(event: Event) -> str:
    place = f"{event.channel}[{event.item}]" if event.item else event.channel
    # Their data only repeats the names.
    data = () if event.type in (UNSET, "push:left") else (event.data,)
    return shown(" ".join([place, event.type, *data]).lstrip())
