"""The pages of the docs, and the code in them."""

from __future__ import annotations

from support.servers import ROOT

README = (ROOT / "README.md").read_text()
