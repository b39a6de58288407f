"""How the documentation is built: ``sphinx-build -qW docs docs/_build``."""

from importlib.metadata import version as version_of

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
    ("py:class", r"(asyncio|collections|flask|pathlib|ssl|t|uuid)\..*"),
    ("py:class", r"flask_push\.testing\._reader\.StreamResponse"),
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
