"""A forum of groups. What a view changes is sent to the pages after its commit."""

import time
from secrets import token_urlsafe

from flask import abort
from flask import Flask
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from flask.typing import ResponseReturnValue as Answer
from flask_sqlalchemy import SQLAlchemy

from flask_push import Push

PEOPLE = ("Ann", "Ben", "Cleo", "Dan")
GROUPS = ("Garden", "Kitchen", "Music")

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///forum.db"  # In the folder instance.
app.config.from_prefixed_env()  # FLASK_PUSH_BROKER_URL, for one
db = SQLAlchemy(app)
push = Push(app)


class Login(db.Model):
    session: db.Mapped[str] = db.mapped_column(primary_key=True)
    user: db.Mapped[str]


class Member(db.Model):
    person: db.Mapped[str] = db.mapped_column(primary_key=True)
    group: db.Mapped[str] = db.mapped_column(primary_key=True)
    is_in: db.Mapped[bool] = db.mapped_column(default=True)
    unread: db.Mapped[int] = db.mapped_column(default=0)
    version: db.Mapped[int] = db.mapped_column(default=1, onupdate=db.text("version + 1"))


class Comment(db.Model):
    id: db.Mapped[int] = db.mapped_column(primary_key=True)
    group: db.Mapped[str]
    person: db.Mapped[str]
    text: db.Mapped[str]
    time: db.Mapped[float] = db.mapped_column(default=time.time)


with app.app_context():
    for table in db.metadata.sorted_tables:  # Several workers may start at once.
        db.session.execute(db.schema.CreateTable(table, if_not_exists=True))
    rows = [{"person": person, "group": group} for person in PEOPLE for group in GROUPS]
    db.session.execute(db.insert(Member).prefix_with("OR IGNORE"), rows)
    db.session.commit()


def login() -> Login:
    """The login whose word is in the cookie, if it is not over."""
    return db.session.get(Login, request.cookies.get("login", "")) or abort(401)


def members(**of: object) -> list[Member]:
    rows = db.select(Member).filter_by(**of).order_by(Member.group, Member.person)
    return list(db.session.scalars(rows))


def member_of(group: str) -> str:
    user = login().user
    return user if members(person=user, group=group, is_in=True) else abort(403)


def update(group: str, which: db.ColumnElement[bool], **values: object) -> None:
    """Change members, and what their pages say of the comments that they have not read."""
    rows = db.update(Member).where(Member.group == group, which).values(**values)
    for m in db.session.scalars(rows.returning(Member)):
        push.after(db.session).set(f"user:{m.person}", group, m.unread, version=m.version)


@app.get("/stream")
def stream() -> Answer:
    mine = login()
    may = [f"group:{m.group}" for m in members(person=mine.user, is_in=True)]
    may.append(f"user:{mine.user}")
    channels = [channel for channel in push.requested() if channel in may]
    return push.stream(*channels, user=mine.user, session=mine.session)


@app.get("/")
@app.get("/groups/<group>")
def show(group: str = "") -> Answer:
    user, since = login().user, push.position()  # Before the comments are read.
    groups = [member.group for member in members(person=user, is_in=True)]
    if group not in groups and (group or groups):
        return redirect(url_for("show", group=groups[0] if groups else None))
    rows = db.select(Comment).filter_by(group=group).order_by(Comment.id.desc()).limit(50)
    shown = {"comments": db.session.scalars(rows).all(), "members": members(group=group)}
    shown |= {"user": user, "group": group, "groups": groups, "since": since}
    return render_template("forum.html", **shown)


@app.post("/groups/<group>/comments")
def comment(group: str) -> Answer:
    user, text = member_of(group), request.form["text"].strip()[:2000] or abort(400)
    new, later = Comment(group=group, person=user, text=text), push.after(db.session)
    db.session.add(new)
    update(group, Member.is_in & (Member.person != user), unread=Member.unread + 1)
    later.publish_template(f"group:{group}", "_comment.html", comment=new)
    db.session.commit()
    return "", 204


@app.post("/groups/<group>/read")
def read(group: str) -> Answer:
    update(group, (Member.person == member_of(group)) & (Member.unread > 0), unread=0)
    db.session.commit()
    return "", 204


@app.post("/groups/<group>/members/<person>/<any(add, remove):what>")
def change(group: str, person: str, what: str) -> Answer:
    user, where, later = member_of(group), f"group:{group}", push.after(db.session)
    update(group, Member.person == person, is_in=what == "add", unread=0)
    if what == "add":
        later.publish(f"user:{person}", f"{user} added you to {group}.", type="added")
    else:
        why = f"{user} removed you from {group}."
        later.disconnect(user=person, channel=where, reason=why)
    now = members(group=group)
    later.publish_template(where, "_members.html", type="members", members=now)
    db.session.commit()
    return "", 204


@app.post("/login")
def log_in() -> Answer:
    user = request.form["person"] if request.form["person"] in PEOPLE else abort(400)
    new, answer = Login(user=user, session=token_urlsafe(9)), redirect(url_for("show"))
    answer.set_cookie("login", new.session, httponly=True, samesite="Lax")
    db.session.add(new)
    db.session.commit()
    return answer


@app.post("/logout", defaults={"where": ""})
@app.post("/logout/everywhere", defaults={"where": " everywhere"})
def log_out(where: str) -> Answer:
    mine = login()
    whose = {"user": mine.user} if where else {"session": mine.session}
    db.session.execute(db.delete(Login).filter_by(**whose))
    push.after(db.session).disconnect(**whose, reason=f"You have logged out{where}.")
    db.session.commit()
    return redirect(url_for("show"))


@app.errorhandler(401)
def ask(error: Exception) -> Answer:
    return render_template("login.html", people=PEOPLE), 401
