"""Which code made a thing: the project's version, and the commit where it runs from a checkout."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_version() -> str:
    """Return the version, and '+' with the commit and '.changed' where that is known."""
    known = version("omnirefiner")
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=.changed", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return known
    return f"{known}+{described}"
