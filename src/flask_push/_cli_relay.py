"""The command that relays outboxes."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time

import click

from ._command import check_reach
from ._command import failure
from ._command import load

# Seconds between two lines that say how many rows were relayed.
_SAY_SECONDS = 60.0
# Seconds for which the end waits until the leases are given back.
_END_SECONDS = 10.0


@click.command()
@click.pass_context
def relay(context: click.Context) -> None:
    """Relay the app's outboxes in the foreground, until a signal ends it.

    It sends what is committed, as a thread of each process of the app does unless
    PUSH_OUTBOX_THREAD is False. Several may run: one of them relays, and another one
    takes over when it ends.
    """
    app, extension = load(context)
    check_reach(app, extension, "no stream would receive the events")
    if not extension._outboxes:
        raise failure(
            "This app has no outbox. Make a flask_push.sqlalchemy.Outbox where you make its"
            " Push."
        )
    _show_log()
    ended = threading.Event()
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: ended.set())
    with app.app_context():
        try:
            relays = extension._services().outboxes.open(app, extension._outboxes)
        except RuntimeError as error:
            raise failure(error) from error
    for each in relays:
        each.start()
    before, at = 0, time.monotonic()
    while not ended.wait(_SAY_SECONDS):
        now = sum(each.relayed for each in relays)
        if now != before:
            click.echo(f"Relayed {now - before:,} rows in {time.monotonic() - at:.0f} s.")
        before, at = now, time.monotonic()
    for each in relays:
        each.stop()
    for each in relays:
        each.join(_END_SECONDS)
    click.echo(f"Relayed {sum(each.relayed for each in relays):,} rows in all.")


def _show_log() -> None:
    """Write the lines of the log about leases, too, unless the app says otherwise."""
    logger = logging.getLogger("flask_push")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
        if not logging.getLogger().handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
