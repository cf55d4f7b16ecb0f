"""The options that many commands take."""

from pathlib import Path
from typing import Annotated

import typer

Lake = Annotated[Path, typer.Option("--lake", help="The folder that holds everything.")]
Profile = Annotated[str, typer.Option("--profile", help="A profile's name, or a path to a .toml file.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting on top; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

DEFAULT_LAKE = Path("lake")
DEFAULT_PROFILE = "embedded"
