"""The problems of the app and its machine, and how to solve each.

The page *The doctor* lists them: ``docs/conf.py`` writes that list.
"""

from __future__ import annotations

from .problem import ANY
from .problem import ERROR
from .problem import ONE_STORE
from .problem import Problem
from .problem import WARN

APP_PROBLEMS: dict[str, Problem] = {
    "config": Problem(
        ERROR,
        "The app can't be loaded: {error}",
        (
            (
                ANY,
                "flask --app hello push doctor  # where the app and its configuration are",
            ),
        ),
    ),
    "testing": Problem(
        WARN,
        "app.testing is true, so the app keeps everything in its own process.",
        ((ANY, "TESTING = False"),),
    ),
    "memory": Problem(
        WARN,
        "The store is this process's memory: no other process can publish to it, and the"
        " doctor can't test it.",
        ((ANY, ONE_STORE),),
    ),
    "thread": Problem(
        WARN,
        "The hub is a thread of each worker: its streams end with the worker, and a view"
        " that computes slows them down.",
        ((ANY, 'PUSH_HUB = "process"'),),
    ),
    "development": Problem(
        WARN,
        "The hub is a thread of each process, for development, because {reason}. Its"
        " streams end with the process.",
        ((ANY, "# nothing to do to develop; for production, run the app on Linux"),),
    ),
    "owner": Problem(
        ERROR,
        "{path} belongs to {owner}, and this command runs as {user}. The doctor does not"
        " look into it.",
        (
            (ANY, "sudo -u {name} flask push doctor  # if the app runs as that user"),
            (
                ANY,
                'PUSH_RUN_DIR = "/var/lib/hello"  # a directory of its own for each user',
            ),
        ),
    ),
    "directory": Problem(
        ERROR,
        "The run directory {path} can't be used: {error}.",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # which the app may write'),),
    ),
    "open": Problem(
        ERROR,
        "Every user may write to the run directory {path}: its mode is {mode}.",
        ((ANY, "chmod 700 {path}"), (ANY, 'PUSH_RUN_DIR = "{path}/push"  # made in it')),
    ),
    "group": Problem(
        WARN,
        "The group {group} may write to the run directory {path}: its mode is {mode}.",
        ((ANY, "chmod g-w {path}  # if not only the app is in the group"),),
    ),
    "apart": Problem(
        WARN,
        "Events may not reach the right processes: {doubt}",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # the same for all processes'),),
    ),
    "remote": Problem(
        ERROR,
        "The run directory {path} is on a remote file system, where locks are not"
        " reliable.",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # on a local disk'),),
    ),
    "store": Problem(
        ERROR,
        "The store {url} can't be used: {error}",
        ((ANY, "PUSH_BROKER_URL = …  # a store that is running and has space"),),
    ),
    "no-hub": Problem(
        ERROR,
        "PUSH_HUB names {path}, where no hub answers ({error}).",
        ((ANY, "flask push hub --socket {path}"),),
    ),
    "stuck": Problem(
        ERROR,
        "A hub holds the lock {path} and does not answer: {error}.",
        ((ANY, "fuser -k {path}"),),
    ),
    "stranger": Problem(
        ERROR,
        "{error}",
        ((ANY, "sudo -u {name} flask push doctor  # if the app runs as that user"),),
    ),
    "version": Problem(
        WARN,
        "The hub runs version {hub}, and version {here} is installed.",
        ((ANY, "kill -HUP …  # reload the workers: the newer version replaces the hub"),),
    ),
    "without-user": Problem(
        WARN,
        "Of {streams} streams, {without} have no user, and the others have one. A"
        " push.disconnect(user=…) ends none of those without.",
        (
            (
                ANY,
                "push.stream(…, user=current_user.id)  # in a view of users",
            ),
            (ANY, "# nothing to do if these streams are for visitors"),
        ),
    ),
    "descriptors": Problem(
        WARN,
        "PUSH_MAX_STREAMS is {streams}, but {whose} may open only {limit} descriptors,"
        " and each stream needs one.",
        (
            (ANY, "LimitNOFILE={wanted}  # in the systemd unit"),
            (ANY, "ulimit -Hn {wanted}  # in a shell"),
            (ANY, "PUSH_MAX_STREAMS = {possible}"),
        ),
    ),
    "heartbeat": Problem(
        WARN,
        "PUSH_HEARTBEAT is {seconds:g} seconds. Most proxies end a connection that is"
        " silent for 60 seconds, some after 55.",
        ((ANY, "PUSH_HEARTBEAT = 15"),),
    ),
}
