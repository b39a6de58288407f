"""What PyInstaller has to know of this package, which it asks by an entry point."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Where the hooks are."""
    return [str(Path(__file__).parent)]
