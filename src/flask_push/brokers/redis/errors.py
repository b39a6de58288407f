"""Explains the errors of a Redis, in words that name the remedy.

No input or output, and no redis-py: its exceptions are known by their names, and errors
of the hub's own connection by the code that their text begins with.
"""

from __future__ import annotations

import re

# redis-py drops the codes of these errors.
_CODES = {
    "AskError": "ASK",
    "AuthenticationError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}

# Errors without a code, by a part of their text.
_TEXTS = {
    "unauthenticated multibulk": "NOAUTH",
    "unauthenticated bulk": "NOAUTH",
    "invalid password": "WRONGPASS",
    "invalid username-password": "WRONGPASS",
    "WRONGPASS": "WRONGPASS",
    "no password is set": "NOPASS",
    "without any password configured": "NOPASS",
    "user executing the script can't": "NOPERM",
    "unknown command": "UNKNOWN",
    "unknown subcommand": "UNKNOWN",
    "cluster support disabled": "NOCLUSTER",
    "WRONG_VERSION_NUMBER": "NOTLS",
    "handshake operation timed out": "NOTLS",
    "killed by user": "KILLED",
}

_NODE = "it is a node of a Redis Cluster, so the URL begins with redis+cluster://"
_WORDS = {
    "ASK": _NODE,
    "BUSY": "it is busy with another program's script",
    "CLUSTERDOWN": "its Cluster is down, and no node serves the keys of this app",
    "CROSSSLOT": _NODE,
    "KILLED": "the script was ended with SCRIPT KILL",
    "LOADING": "it has been started, and is still loading its data",
    "MASTERDOWN": "it is a replica that has lost its master",
    "MISCONF": "it can't save its data, and stores nothing more; its own log says why",
    "MOVED": _NODE,
    "NOAUTH": "it wants authentication, and the URL has no password:"
    " redis://:password@host:6379/0",
    "NOCLUSTER": "it is no Redis Cluster, so the URL begins with redis://",
    "NOPASS": "it has no password, so the URL must not have one either",
    "NOPERM": "its user may not do this; the page 'Redis' of the docs has all it needs",
    "NOPROTO": "it does not support RESP3, which hubs need",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write, and stores nothing",
    "NOTLS": "it does not answer in TLS; if it speaks none, the URL begins with redis://",
    "OOM": "it is full, and stores nothing more; raise maxmemory or keep less",
    "READONLY": "it is a replica, and stores nothing; the URL has to name the master",
    "UNKNOWN": "it lacks a command; is it a Sentinel (redis+sentinel://host:26379/service),"
    " older than Redis 6, or a proxy without RESP3",
    "WRONGPASS": "it does not accept the user and the password of the URL",
    "WRONGTYPE": "another program has stored something of its own under a key of this app;"
    " delete that key, or give the URL another prefix",
}

# Redis 6 puts the code of an error in a script behind the script's line.
_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -?([A-Z]{3,})\b")


# Errors at a script's first write, or before it.
_BEFORE = {"KILLED", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "WRONGTYPE"}


def code_of(error: BaseException) -> str:
    """The code of a server's error, or ``ERR``."""
    text = str(error)
    # redis-py reports each kind of time-out alike.
    for part, code in _TEXTS.items():
        if part in text or part in str(error.__context__):
            return code
    if (name := type(error).__name__) in _CODES:
        return _CODES[name]
    if match := _IN_SCRIPT.search(text):
        return match[1]
    code = text.removeprefix("HALF ").partition(" ")[0]
    return code if code.isalpha() and code.isupper() else "ERR"


# Another server, or another connection, may not answer so.
_ELSEWHERE = {"ASK", "CLUSTERDOWN", "CROSSSLOT", "MASTERDOWN", "MOVED", "READONLY"}
_ELSEWHERE |= {"NOAUTH", "NOCLUSTER", "NOPASS", "TRYAGAIN", "UNKNOWN", "WRONGPASS"}
# May pass by itself, or when an operator acts.
_LATER = {"BUSY", "KILLED", "LOADING", "MISCONF", "NOPERM", "NOREPLICAS", "OOM"}


def ends_link(error: BaseException) -> bool:
    """Whether the connection is useless after this error (law 18)."""
    return code_of(error) in _ELSEWHERE


def passes(error: BaseException) -> bool:
    """Whether the same command may succeed later."""
    return code_of(error) in _LATER


def is_uncertain(error: BaseException) -> bool:
    """Whether a script may have stored an event before this error.

    Our scripts report it themselves, but not if an unexpected error ends them.
    """
    text = str(error)
    return text.startswith("HALF ") or (
        "@user_script" in text and code_of(error) not in _BEFORE
    )


def explain(error: BaseException) -> str:
    """The problem, its remedy, and the server's text."""
    words = _WORDS.get(code_of(error))
    return f"{words} ({error})" if words else str(error)
