"""How the documentation is built: ``sphinx-build -qW docs docs/_build``."""

from importlib.metadata import version as version_of
from string import Formatter

from flask_push._doctor.app_problems import APP_PROBLEMS
from flask_push._doctor.stream_problems import STREAM_PROBLEMS

# Project

project = "Flask-Push"
version = release = version_of("flask-push").partition(".dev")[0]

# General

extensions = ["sphinx.ext.autodoc", "myst_parser"]
exclude_patterns = ["_build", "bench"]
default_role = "code"
highlight_language = "none"
add_module_names = False
python_maximum_signature_line_length = 80
nitpicky = True
# Types in signatures that are documented elsewhere, or are not ours to call.
nitpick_ignore_regex = [
    ("py:class", r"(asyncio|cabc|collections|flask|pathlib|sa|sqlalchemy|ssl|t|uuid)\..*"),
    ("py:class", r"flask_push\.(testing\._reader|_response)\.StreamResponse"),
    ("py:class", r"flask_push\._runs\.Piece"),
    ("py:data", "ENTRY_BYTES"),
]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# HTML

html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False

# The page *The doctor* lists the problems that the source declares.


def without_facts(text):
    """The text with dots for the facts that are filled in when a problem is found."""
    parts = Formatter().parse(text)
    return "".join(said + ("" if fact is None else "…") for said, fact, *_ in parts)


def describe(problems):
    for name, (level, what, cures) in problems.items():
        yield f"### `{name}`\n\n{level}: {without_facts(what)}\n\n```text\n"
        for program, cure in cures:
            yield f"{program}: {without_facts(cure)}".removeprefix(": ") + "\n"
        yield "```\n\n"


def list_problems(app, page, source):
    if page == "doctor":
        text = source[0].replace("% APP_PROBLEMS", "".join(describe(APP_PROBLEMS)))
        source[0] = text.replace("% STREAM_PROBLEMS", "".join(describe(STREAM_PROBLEMS)))


def setup(app):
    app.connect("source-read", list_problems)
