"""One list, shown by five frontends, each in its own way. See docs/frontends.md."""

from flask import Flask
from flask import render_template
from flask import request
from flask import Response

from flask_push import Push

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_PUSH_BROKER_URL
push = Push(app)


@app.get("/")
def index() -> str:
    return render_template("index.html")


@app.get("/<any(htmx2, htmx4, turbo, alpine, datastar):name>")
def page(name: str) -> str:
    return render_template(f"{name}.html")


@app.post("/say")
def say() -> tuple[str, int]:
    text = request.form["text"]
    push.publish_template("html", "_item.html", text=text)
    push.publish_template("turbo", "_turbo.html", text=text)
    merge = "datastar-merge-fragments"
    push.publish_template("datastar", "_datastar.html", type=merge, text=text)
    push.publish("json", {"text": text})
    return "", 204


@app.get("/stream/<any(html, turbo, datastar, json):channel>")
def stream(channel: str) -> Response:
    return push.stream(channel, last=20)
