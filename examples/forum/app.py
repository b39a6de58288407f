"""A forum of groups. A stream ends when its user logs out, or is removed from a group."""

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from flask import abort
from flask import Flask
from flask import redirect
from flask import render_template
from flask import request
from flask import session
from flask import url_for
from flask.typing import ResponseReturnValue as Answer

from flask_push import Push

PEOPLE = ("Ann", "Ben", "Cleo", "Dan")
GROUPS = ("Garden", "Kitchen", "Music")

app = Flask(__name__)
Path(app.instance_path).mkdir(0o700, exist_ok=True)


def sql(text: str, *values: object) -> list[tuple[str, ...]]:
    path = Path(app.instance_path, "forum.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(text, values).fetchall()


sql("CREATE TABLE IF NOT EXISTS secret (id INTEGER PRIMARY KEY, key)")
sql("CREATE TABLE IF NOT EXISTS login (word PRIMARY KEY, person)")
sql("CREATE TABLE IF NOT EXISTS removed (person, team, PRIMARY KEY (person, team))")
sql("INSERT OR IGNORE INTO secret VALUES (1, ?)", secrets.token_bytes(32))
app.secret_key = sql("SELECT key FROM secret")[0][0]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # Other sites can't post to this one.
app.config.from_prefixed_env()  # FLASK_SECRET_KEY, or FLASK_PUSH_BROKER_URL
push = Push(app)


def me() -> str:
    """The user. The cookie alone is not enough: the table must still have its login."""
    found = sql("SELECT person FROM login WHERE word = ?", session.get("login"))
    return found[0][0] if found else abort(401)


def groups_of(person: str) -> list[str]:
    removed = sql("SELECT team FROM removed WHERE person = ?", person)
    return [group for group in GROUPS if (group,) not in removed]


def member_of(group: str) -> str:
    return me() if group in groups_of(me()) else abort(403)


def members_of(group: str) -> dict[str, bool]:
    return {person: group in groups_of(person) for person in PEOPLE}


@app.get("/stream")
def stream() -> Answer:
    user = me()
    mine = {f"user:{user}", *(f"group:{group}" for group in groups_of(user))}
    channels = [channel for channel in push.requested() if channel in mine]
    return push.stream(*channels, user=user, session=session["login"])


@app.get("/")
@app.get("/groups/<group>")
def show(group: str = "") -> Answer:
    user = me()
    groups = groups_of(user)
    if group not in groups and (group or groups):
        return redirect(url_for("show", group=groups[0] if groups else None))
    history = push.history(f"group:{group}", last=50)
    shown = {"user": user, "group": group, "groups": groups, "members": members_of(group)}
    return render_template("forum.html", history=history, **shown)


@app.post("/groups/<group>/comments")
def comment(group: str) -> Answer:
    user, text = member_of(group), request.form["text"].strip()[:2000] or abort(400)
    said = {"text": text, "time": time.time()}
    push.publish_template(f"group:{group}", "_comment.html", person=user, said=said)
    return "", 204


@app.post("/groups/<group>/members/<person>/<any(add, remove):what>")
def change(group: str, person: str, what: str) -> Answer:
    user, channel = member_of(group), f"group:{group}"
    if what == "remove":
        sql("INSERT OR IGNORE INTO removed VALUES (?, ?)", person, group)
        why = f"{user} removed you from {group}."
        push.disconnect(user=person, channel=channel, reason=why)
    else:
        sql("DELETE FROM removed WHERE person = ? AND team = ?", person, group)
        push.publish(f"user:{person}", f"{user} added you to {group}.")
    shown = members_of(group)
    push.publish_template(
        channel, "_members.html", type="members", group=group, members=shown
    )
    return "", 204


@app.post("/login")
def log_in() -> Answer:
    session["login"] = secrets.token_urlsafe(9)  # A word for this login, and no other.
    person = request.form["person"] if request.form["person"] in PEOPLE else abort(400)
    sql("INSERT INTO login VALUES (?, ?)", session["login"], person)
    return redirect(url_for("show"))


@app.post("/logout")
def log_out() -> Answer:
    me()
    word = session.pop("login")
    sql("DELETE FROM login WHERE word = ?", word)
    push.disconnect(session=word, reason="You have logged out.")
    return redirect(url_for("show"))


@app.post("/logout/everywhere")
def log_out_everywhere() -> Answer:
    user = me()
    sql("DELETE FROM login WHERE person = ?", user)
    push.disconnect(user=user, reason="You have logged out everywhere.")
    return redirect(url_for("show"))


@app.errorhandler(401)
def ask(error: Exception) -> Answer:
    return render_template("login.html", people=PEOPLE), 401
