"""How commands find the hubs of this machine, and ask them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import click

from ._app_hub import files_of
from ._app_hub import why_development
from ._command import failure
from ._command import load
from ._command import why
from ._config import Config
from ._ipc.files import HubFiles
from ._ipc.status import status_of

#: The option that names a hub without its app.
of_socket = click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, resolve_path=True),
    help="The hub's socket. Without it, the app is asked where its hub is.",
)


def find_hubs(context: click.Context, path: Path | None) -> list[HubFiles]:
    """The files of the app's hubs, those that have one; if none has, the first."""
    if path is not None:
        return [HubFiles(path)]
    app, _ = load(context)
    config = Config.read(app.config)
    all_files = files_of(app, config)
    if reason := why_development(app, config):
        raise failure(
            "This app's hub is a thread of each of its processes, for development, because"
            f" {reason}. 'flask push doctor' examines it with the URL of a"
            " stream."
        )
    if not all_files:
        raise failure(
            "This app's hub is a thread of each of its processes: PUSH_HUB is 'thread',"
            " or its store is 'memory:'."
        )
    return [files for files in all_files if files.is_open()] or all_files[:1]


def ask(files: HubFiles) -> dict[str, t.Any]:
    try:
        return status_of(files)
    except OSError as error:
        raise failure(no_hub(files, error)) from error


def no_hub(files: HubFiles, error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return (
            f"No hub is running at {files.sock}. The app's first stream starts one, unless"
            " PUSH_HUB names a hub that you run yourself."
        )
    if isinstance(error, PermissionError) and error.errno is not None:
        return (
            f"The hub at {files.sock} may not be used: {why(error)} Run this command as the"
            " user who runs the app."
        )
    return f"The hub at {files.sock} does not answer: {why(error)}"
