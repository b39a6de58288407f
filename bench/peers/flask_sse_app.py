"""Flask-SSE, as its documentation has it: on gevent, with a Redis."""

import os

from flask import Flask
from flask_sse import sse

app = Flask("peer")
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")
