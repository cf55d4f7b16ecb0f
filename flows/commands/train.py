"""Train: fine-tuning a refiner on a published version, then sharpening it by GRPO."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments
from flows.output import print_table

app = typer.Typer()
train = typer.Typer(
    no_args_is_help=True,
    help="Train a refiner on a published version. Example: `omnirefiner train sft --version v1 --backbone tiny`",
)
app.add_typer(train, name="train")

Version = Annotated[str, typer.Option(help="The published version to learn from.")]
LakeOrUrl = Annotated[str, typer.Option("--lake", help="The folder that holds it, or an s3:// URL.")]
HeldOut = Annotated[str, typer.Option(help="Split group that is tried and never trained on; 'none': nothing is tried.")]


@train.command()
def sft(
    version: Version,
    lake: LakeOrUrl = str(DEFAULT_LAKE),
    backbone: Annotated[str, typer.Option(help="tiny, flux_kontext, qwen_image_edit or flux2_klein.")] = "tiny",
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder; runs/VERSION-BACKBONE by default. A run goes on where it was."),
    ] = None,
    held_out: HeldOut = "validation",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune on quadruplets by flow matching. Checkpoints, metrics, pictures and curves.html go into the run's
    folder.

    Example: `omnirefiner train sft --version v1 --backbone tiny --set sft.steps=2000`; on several GPUs
    `torchrun --nproc_per_node 8 -m flows.cli train sft --version v1 --backbone flux_kontext`.
    """
    from flows.train import train_sft

    run = out or Path("runs") / f"{version}-{backbone}"
    _tell(run, train_sft(lake, version, backbone, run, _group(held_out), assignments or ()), as_json)


@train.command()
def grpo(
    version: Version,
    start: Annotated[Path, typer.Option("--from", help="The checkpoint to begin with, as `train sft` wrote it.")],
    lake: LakeOrUrl = str(DEFAULT_LAKE),
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/VERSION-grpo by default. A run goes on where it was.")
    ] = None,
    held_out: HeldOut = "validation",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Sharpen a fine-tuned refiner by GRPO: it is paid for likeness to the truth, and for equal pixels.

    Example: `omnirefiner train grpo --version v1 --from runs/v1-tiny/checkpoints/000450 --set grpo.steps=200`; DreamSim
    wants its weights: `--set reward.dreamsim=FOLDER`.
    """
    from flows.train import train_grpo

    run = out or Path("runs") / f"{version}-grpo"
    _tell(run, train_grpo(lake, version, start, run, _group(held_out), assignments or ()), as_json)


@train.command()
def demo(
    photos: Annotated[
        Path | None, typer.Argument(help="A folder of photos, one folder a product; without it photos are rendered.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where lake and runs go.")] = Path("train-demo"),
    seeds: Annotated[int, typer.Option(min=1, help="How often everything is trained anew.")] = 3,
    at_once: Annotated[int, typer.Option(min=1, help="Processes of one thread that train at once.")] = 2,
    sft_assignments: Annotated[list[str] | None, typer.Option("--sft", metavar="KEY=VALUE")] = None,
    grpo_assignments: Annotated[list[str] | None, typer.Option("--grpo", metavar="KEY=VALUE")] = None,
) -> None:
    """Show that it learns: build quadruplets, train `tiny` by SFT, blind and not, then by GRPO, and compare them on
    products that none has seen, over all samples and by how far off the input was. What was built and trained is not
    done again; figures, plots and pictures go into comparison.html.

    Example: `omnirefiner train demo PHOTOS --out train-demo`
    """
    from benchmark.refiners import FIGURES, PARTS, told
    from flows.commands.build import build
    from flows.commands.demo import render
    from flows.train_demo import RENDERED, UNSEEN, VIEWS, built, train_and_compare

    lake = folder / "lake"
    if not (lake / "versions" / "demo.json").exists():
        settings = built(rendered=photos is None)
        if photos is None:
            photos = folder / "photos"
            if not (photos / "truth.jsonl").exists():  # written last
                render(photos, products=RENDERED, views=VIEWS, seed=UNSEEN)
        build(photos, lake, assignments=settings, publish="demo")
    else:
        print(f"{lake}: version 'demo' is published, no photos are looked at; for others give another --out")
    found = train_and_compare(
        lake, "demo", folder / "runs", seeds, at_once, sft_assignments or (), grpo_assignments or ()
    )
    for part, one in found.items():
        print(f"\n{PARTS[part]}: {one.samples} samples of {one.products} products")
        for title, rows in (("held out", one.each), ("better by", one.better)):
            print_table(title, [{"": name, **{figure: told(row.get(figure)) for figure in FIGURES}}
                                for name, row in rows.items()])  # fmt: skip
    print(f"open {folder / 'runs' / 'comparison.html'}")


@train.command()
def ablate(
    folder: Annotated[Path, typer.Argument(help="A folder that `train demo` has filled.")] = Path("train-demo"),
    seed: Annotated[int, typer.Option(help="The refiner of which seed is where GRPO starts.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, help="Processes of one thread that train at once.")] = 2,
    sft_assignments: Annotated[list[str] | None, typer.Option("--sft", metavar="KEY=VALUE")] = None,
    grpo_assignments: Annotated[list[str] | None, typer.Option("--grpo", metavar="KEY=VALUE")] = None,
) -> None:
    """Show what each part of the training does: train `tiny` without it, and compare with SFT as it is, over all
    samples and by how far off the input was.

    Example: `omnirefiner train ablate train-demo`
    """
    from benchmark.refiners import PARTS, told
    from flows.ablations import ablate

    gains = ablate(folder, seed, at_once, sft_assignments or (), grpo_assignments or ())
    for part, rows in gains.items():
        print_table(f"better than SFT by, {PARTS[part]}", [
            {"": name, **{figure: told(one) for figure, one in found.items()}} for name, found in rows.items()
        ])  # fmt: skip
    print(f"kept in {folder / 'runs' / 'ablations.json'}")


def _tell(run: Path, done: dict[str, Any] | None, as_json: bool) -> None:
    """Print what a run has come to, if this is the process that knows."""
    if done is None:
        return
    if as_json:
        print(json.dumps(done))
        return
    print(f"{run}: {done['steps']} steps")
    for name, value in done["validation"].items():
        print(f"  {name:<16} {value:.3f}")
    print(f"open {run / 'curves.html'}; refine with --checkpoint {run / 'checkpoints'}/{done['steps']:06d}")


def _group(held_out: str) -> str | None:
    return None if held_out == "none" else held_out
