"""Train: fine-tuning a refiner on a published version."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments

app = typer.Typer()
train = typer.Typer(
    no_args_is_help=True,
    help="Train a refiner on a published version. Example: `omnirefiner train sft --version v1 --backbone tiny`",
)
app.add_typer(train, name="train")


@train.command()
def sft(
    version: Annotated[str, typer.Option(help="The published version to learn from.")],
    lake: Annotated[str, typer.Option(help="The folder that holds it, or an s3:// URL.")] = str(DEFAULT_LAKE),
    backbone: Annotated[str, typer.Option(help="tiny, flux_kontext, qwen_image_edit or flux2_klein.")] = "tiny",
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder; runs/VERSION-BACKBONE by default. A run goes on where it was."),
    ] = None,
    held_out: Annotated[
        str, typer.Option(help="Split group that is tried and never trained on; 'none': nothing is tried.")
    ] = "validation",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune on quadruplets by flow matching. Checkpoints, metrics, pictures and curves.html go into the run's
    folder.

    Example: `omnirefiner train sft --version v1 --backbone tiny --set sft.steps=2000`; on several GPUs
    `accelerate launch -m flows.cli train sft --version v1 --backbone flux_kontext`.
    """
    from flows.train import train_sft

    run = out or Path("runs") / f"{version}-{backbone}"
    done = train_sft(lake, version, backbone, run, None if held_out == "none" else held_out, assignments or ())
    if done is None:
        return
    if as_json:
        print(json.dumps(done))
        return
    print(f"{run}: {done['steps']} steps")
    for name, value in done["validation"].items():
        print(f"  {name:<16} {value:.3f}")
    print(f"open {run / 'curves.html'}; refine with --checkpoint {run / 'checkpoints'}/{done['steps']:06d}")
