"""Curate: what is scored, and which samples are published."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments, Lake
from flows.output import print_json, print_table

app = typer.Typer()


@app.command()
def curate(
    filters: Annotated[
        str | None, typer.Option(metavar="FILE", help="The filter set to put in force; 'none' lifts the one that is.")
    ] = None,
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample, once, and drop from what is published next what a filter set says. Nothing is deleted.

    Example: `omnirefiner curate --filters schemas/filters/strict.toml --dry-run`
    """
    if dry_run:
        _dry_run(filters, lake, as_json)
        return
    from flows.server import prefect
    from tasks.filters import read_filters
    from tasks.lake import open_lake

    open_lake(lake)
    if filters not in (None, "none"):
        read_filters(Path(filters))
    with prefect():
        from flows.curate import curate as flow

        curated = flow(str(lake), filters, assignments or [])
    if as_json:
        print_json(curated.model_dump(mode="json"))
        raise typer.Exit(1 if curated.step.failed else 0)
    if curated.step.items:
        print_table(
            "Scored", [curated.step.model_dump(include={"items", "answered", "failed", "seconds", "work_seconds"})]
        )
    print_table("Scores of all samples", curated.scores)
    _print_effect(curated.effect)
    where = f" --lake {lake}" if lake != DEFAULT_LAKE else ""
    print(f"Publish them: `omnirefiner publish NAME{where}`")
    if curated.step.failed:
        print(f"{curated.step.failed} samples could not be scored; `omnirefiner curate{where}` asks them again")
        raise typer.Exit(1)


def _dry_run(filters: str | None, lake: Path, as_json: bool) -> None:
    from tasks.catalog import read
    from tasks.curate import effect
    from tasks.filters import check, in_force, read_filters
    from tasks.lake import open_lake

    the_lake = open_lake(lake)
    read_now = None if filters in (None, "none") else read_filters(Path(str(filters)))
    asked = in_force(the_lake) if filters is None else read_now
    with read(the_lake) as connection:
        if asked is not None:
            check(connection, asked, f"filters {filters}" if filters else f"filter set '{asked.name}', in force")
        found = effect(connection, asked)
    if as_json:
        print_json(found.model_dump())
        return
    _print_effect(found)
    print("Nothing was done.")


def _print_effect(found: Any) -> None:
    """Print a `tasks.curate.Effect`: the funnel rule by rule, examples, and what changes."""
    if found.rules:
        told = ("rule", "reason", "drop", "drops", "alone", "unknown", "left")
        print_table(f"Filter set {found.filters}", [rule.model_dump(include=set(told)) for rule in found.rules])
        examples = [
            {"reason": rule.reason, "words": rule.words, "some of them": " ".join(one[:12] for one in rule.examples)}
            for rule in found.rules
            if rule.examples
        ]
        if examples:
            print_table("Look at them with `omnirefiner why ID`", examples)
    changed = [{"change": "dropped", "for": reason, "samples": n} for reason, n in found.newly_dropped.items()]
    changed += [{"change": "brought back", "for": reason, "samples": n} for reason, n in found.brought_back.items()]
    if changed:
        print_table(f"Against what is in force ({found.in_force or 'no filter set'})", changed)
    if found.unscored:
        print(
            f"{found.unscored} samples have no scores yet, and rules about scores keep them; "
            "`omnirefiner curate` scores them"
        )
    print(f"{found.curated} of {found.samples} samples are kept by {found.filters or 'no filter set'}.")
