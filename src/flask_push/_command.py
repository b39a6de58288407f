"""What all commands share: they load the app, and report errors.

The status is 0 for success, 1 for an error, and 2 for invalid arguments. Only a bug in
Flask-Push or in the app is shown with a traceback; an error of the machine is one line.
"""

from __future__ import annotations

import io
import sys
import traceback
import typing as t

import click
from flask import Flask
from flask.cli import ScriptInfo

from ._app_hub import choose
from ._config import Config
from ._extension import Push
from ._system.terminal import shown


class Commands(click.Group):
    """A group that reports an error of a file, a socket or the terminal in one line."""

    def invoke(self, context: click.Context) -> t.Any:
        for stream in sys.stdout, sys.stderr:
            # Escape characters that the terminal's encoding lacks.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(context)
        except BrokenPipeError:
            # The reader closed the pipe, as '| head' does. Click then ends silently.
            raise
        except OSError as error:
            raise failure(why(error)) from error


def failure(text: object) -> click.ClickException:
    """An error that is shown as one line. Its text is escaped, because some of it may come
    from other programs."""
    return click.ClickException(shown(text, 2000))


def why(error: OSError) -> str:
    """The error as a sentence, with the path if there is one."""
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError) and error.strerror is None:
        text = "no answer came in time"
    if error.strerror is not None:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{text.rstrip('.')}."


def load(context: click.Context) -> tuple[Flask, Push]:
    try:
        app = context.ensure_object(ScriptInfo).load_app()
    except (RuntimeError, TypeError, ValueError) as error:
        # An error of the app itself is shown with its traceback.
        if not _is_ours(error):
            raise
        raise failure(error) from error
    if "push" not in app.extensions:
        raise failure(f"The app {app.name!r} has no Push. Call 'push.init_app(app)'.")
    return app, app.extensions["push"]


def check_reach(app: Flask, extension: Push, problem: str) -> None:
    """
    :param problem: What is the matter if this process does not reach the app's streams.
    :raises click.ClickException: If the app's other processes don't notice what this one
        stores, and this one does not see what they store.
    """
    url, _ = choose(app, Config.read(app.config))
    if url == "memory:":
        raise failure(
            f"The store of this app is the memory of each process, so {problem}. Set"
            " PUSH_BROKER_URL to 'sqlite:', and TESTING to False."
        )
    if apart := extension._states[app].apart():
        raise failure(f"{problem[0].upper()}{problem[1:]}. {apart}")


def _is_ours(error: BaseException) -> bool:
    """Whether Flask-Push raised the error, as for an invalid configuration."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "") if frames else ""
    return str(module).partition(".")[0] == "flask_push"
