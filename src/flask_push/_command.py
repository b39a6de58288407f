"""What all commands share: the app that they are about, and how they fail.

The status is 0, 1 if something is wrong, and 2 for words that make no sense. A traceback
is for a fault of ours or of the app's, and not for a trouble of the machine.
"""

from __future__ import annotations

import io
import sys
import traceback
import typing as t

import click
from flask import Flask
from flask.cli import ScriptInfo

from ._extension import Push
from ._system.terminal import shown


class Commands(click.Group):
    """Ends with one line and the status 1 where files, sockets or the terminal fail."""

    def invoke(self, context: click.Context) -> t.Any:
        for stream in sys.stdout, sys.stderr:
            # What the terminal's encoding lacks is escaped.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(context)
        except BrokenPipeError:
            # Nobody reads on, as with '| head'. Click ends without a word.
            raise
        except OSError as error:
            raise failure(why(error)) from error


def failure(text: object) -> click.ClickException:
    """An error that is shown as one line. Others may have chosen some of its words."""
    return click.ClickException(shown(text, 2000))


def why(error: OSError) -> str:
    """What the system says, or what we do."""
    said = str(error) or type(error).__name__
    if isinstance(error, TimeoutError) and error.strerror is None:
        said = "no answer came in time"
    if error.strerror is not None:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{said.rstrip('.')}."


def load(context: click.Context) -> tuple[Flask, Push]:
    try:
        app = context.ensure_object(ScriptInfo).load_app()
    except (RuntimeError, TypeError, ValueError) as error:
        # What the app itself raises is shown with its traceback.
        if not _is_ours(error):
            raise
        raise failure(error) from error
    if "push" not in app.extensions:
        raise failure(f"The app {app.name!r} has no Push. Call 'push.init_app(app)'.")
    return app, app.extensions["push"]


def _is_ours(error: BaseException) -> bool:
    """Whether Flask-Push raised it, as for a configuration that can't be right."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "") if frames else ""
    return str(module).partition(".")[0] == "flask_push"
