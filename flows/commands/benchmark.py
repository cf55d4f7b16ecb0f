"""Benchmark: build one from the reserve, freeze it, run any model on it, and compare what came out."""

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments, Lake
from flows.output import print_json, print_table
from schemas.errors import SettingsError

FAULTS = 50  # of a submission that are printed
SHOWN = ("psnr_inside", "ssim_inside", "lpips_inside", "dreamsim_inside", "text", "seam", "mse_outside")

app = typer.Typer()
benchmark = typer.Typer(
    no_args_is_help=True,
    help="Benchmarks: built, run, compared. Example: `omnirefiner benchmark build bench`",
)
app.add_typer(benchmark, name="benchmark")


@benchmark.command()
def build(
    version: Annotated[str, typer.Argument(metavar="NAME", help="The benchmark's name, for good.")],
    size: Annotated[int, typer.Option(min=1, help="How many samples.")] = 30_000,
    partial: Annotated[bool, typer.Option("--partial", help="Take what there is where a stratum is short.")] = False,
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Choose samples of the benchmark reserve and freeze them as a version. Where they cannot be had as the rules say,
    it says what is missing and builds nothing.

    Example: `omnirefiner benchmark build bench-1 --size 30000 --set select.per_product=8`
    """
    from schemas.benchmark import load_benchmark
    from tasks.lake import open_lake
    from tasks.versions import refuse_name

    load_benchmark(assignments or ())
    the_lake = open_lake(lake)
    refuse_name(the_lake, version)
    from flows.server import prefect

    with prefect():
        from flows.benchmark import build_benchmark as flow

        manifest = flow(version, size, str(lake), assignments or (), partial=partial)
    told = {key: value for key, value in manifest["benchmark"].items() if key != "members"}
    if as_json:
        print_json({**{key: manifest[key] for key in ("name", "content", "samples", "bytes", "counts")}, **told})
        return
    print_strata(manifest)
    if told["unfilled"]:
        print_table("Missing", told["unfilled"])
    print(f"{manifest['samples']} samples, {manifest['bytes'] / 1e6:.1f} MB, choice {told['digest']}: "
          f"{the_lake.manifest(version)}")  # fmt: skip


@benchmark.command()
def run(
    version: Annotated[str, typer.Argument(metavar="NAME", help="A benchmark.")],
    model: Annotated[
        str,
        typer.Option(
            help="identity, paste, blind, refiner:CHECKPOINT, pipeline:MODEL, images-api:MODEL or folder:OUTPUTS."
        ),
    ],
    lake: Lake = DEFAULT_LAKE,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/NAME-MODEL by default. A run goes on where it was.")
    ] = None,
    rank: Annotated[int, typer.Option(min=0, help="Of several processes that share a run: which this is.")] = 0,
    world: Annotated[int, typer.Option(min=1, help="And how many there are.")] = 1,
    seed: Annotated[int, typer.Option(help="Of a model's noise.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first samples.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on a benchmark and measure what it makes. What is done is kept, and not done again.

    --set weights.lpips=FILE, weights.clip, weights.dino, weights.dreamsim name weights of metrics; other settings are
    the model's own: `manner.*`, `diffusers.*`, `images_api.*`, or those of a checkpoint, such as `refine.steps`.

    Example: `omnirefiner benchmark run bench-1 --model refiner:runs/v1-tiny/checkpoints/001500 --lake lake`
    """
    from benchmark.cases import open_frozen
    from benchmark.models import open_model
    from benchmark.run import run as run_model
    from flows.progress import progress
    from schemas.benchmark import load_benchmark
    from tasks.engines.load import one_thread_each

    if rank >= world:
        raise SettingsError(f"--rank {rank}: of --world {world} the last is {world - 1}; name one of them")
    own = [one for one in assignments or () if not one.startswith("weights.")]
    weights = load_benchmark([one for one in assignments or () if one.startswith("weights.")]).weights
    if world > 1:
        one_thread_each()
    frozen = open_frozen(lake, version)
    opened = open_model(model, own, seed=seed)
    folder = out or Path("runs") / f"{version}-{re.sub('[^A-Za-z0-9.]+', '-', model).strip('-')}"
    total = len(frozen.keys[:limit][rank::world])
    with progress("benchmark", total) as advance:
        done = run_model(frozen, opened, folder, weights, rank=rank, world=world, limit=limit, advance=advance)
    if as_json:
        print_json({"run": str(folder), **vars(done)})
    else:
        print(f"{folder}: {done.answered} of {done.samples} answered, {done.refused} refused, {done.failed} failed")
        print(f"omnirefiner benchmark leaderboard {version} {folder} compares it")
    if done.failed:
        print(f"the last failure: {done.last_failure}; run the same command again", file=sys.stderr)
        raise typer.Exit(1)


@benchmark.command()
def leaderboard(
    version: Annotated[str, typer.Argument(metavar="NAME", help="A benchmark.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs on it.")],
    lake: Lake = DEFAULT_LAKE,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the page and the tables; runs/NAME-leaderboard by default.")
    ] = None,
    by: Annotated[str, typer.Option(help="The metric that ranks.")] = "psnr_inside",
    cases: Annotated[int, typer.Option(min=0, max=500, help="The worst of each model that the page shows.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Compare runs: leaderboard.html opens offline, with a table, bars for each stratum, and the worst cases side by
    side; leaderboard.csv, samples.csv and leaderboard.json say the same to machines.

    Example: `omnirefiner benchmark leaderboard bench-1 runs/bench-1-identity runs/bench-1-paste`
    """
    from benchmark.cases import open_frozen
    from benchmark.leaderboard import ALL, entries, write_leaderboard

    frozen = open_frozen(lake, version)
    folder = out or Path("runs") / f"{version}-leaderboard"
    told = write_leaderboard(frozen, entries(frozen, runs), folder, by, cases)
    if as_json:
        print_json(told)
        return
    print_table(f"{version}: {told['samples']} samples of {told['groups']} products", [
        {"model": one["name"], **{name: _short(one["strata"][ALL][name]) for name in SHOWN if name in told["metrics"]},
         "measured": one["measured"], "refused": one["refused"]}
        for one in told["models"]
    ])  # fmt: skip
    duels = [one for one in told["duels"] if one["metric"] == by]
    print_table(f"By {by}, on the same samples", [
        {"pair": f"{one['one']} against {one['other']}", "better by": _short(one), "wins": one["wins"],
         "ties": one["ties"]}
        for one in duels
    ])  # fmt: skip
    for why in dict.fromkeys(told["not_computed"].values()):
        names = [name for name, one in told["not_computed"].items() if one == why]
        print(f"not computed: {', '.join(names)} ({why})")
    print(f"open {folder / 'leaderboard.html'}")


@benchmark.command()
def check(
    version: Annotated[str, typer.Argument(metavar="NAME", help="A benchmark.")],
    folder: Annotated[Path, typer.Argument(help="A folder of outputs: KEY.png, KEY.webp or KEY.jpg for each sample.")],
    lake: Lake = DEFAULT_LAKE,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with somebody's outputs, file by file. Ends with code 1 if anything is.

    Example: `omnirefiner benchmark check bench-1 outputs && omnirefiner benchmark run bench-1 --model folder:outputs`
    """
    from benchmark.cases import open_frozen
    from benchmark.submission import check as look

    frozen = open_frozen(lake, version)
    if not folder.is_dir():
        raise SettingsError(f"submission {folder}: there is no such folder")
    faults = look(frozen, folder)
    if as_json:
        print_json([vars(fault) for fault in faults])
    elif faults:
        print_table(f"{folder}: {len(faults)} faults", [vars(fault) for fault in faults[:FAULTS]])
        if len(faults) > FAULTS:
            print(f"and {len(faults) - FAULTS} more; --json lists all")
    else:
        print(f"{folder}: all {len(frozen.keys)} samples are there; "
              f"`omnirefiner benchmark run {version} --model folder:{folder}` takes it")  # fmt: skip
    if faults:
        raise typer.Exit(1)


def _short(one: Mapping[str, Any]) -> str:
    """Return a mean with its interval, as a table has it."""
    if one["mean"] is None:
        return "-"
    interval = "" if one["low"] is None else f" ({one['low']:.3g} to {one['high']:.3g})"
    return f"{one['mean']:.3g}{interval}"


def print_strata(manifest: Mapping[str, Any]) -> None:
    """Print how many samples each stratum has."""
    members = manifest["benchmark"]["members"]
    counts = Counter(zip(members["category"], members["task"], strict=True))
    rows = [{"category": category, "task": task, "samples": n} for (category, task), n in sorted(counts.items())]
    print_table(f"Benchmark {manifest['name']}", rows)
