"""Refine: a draft made true to a reference, by a model that training made."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Assignments
from schemas.errors import SettingsError

app = typer.Typer()


@app.command()
def refine(
    draft: Annotated[Path, typer.Argument(help="The picture to be refined.")],
    reference: Annotated[Path, typer.Argument(help="A photo that shows the product as it is.")],
    instruction: Annotated[str, typer.Option(help="What is to be restored, in words.")],
    mask: Annotated[
        Path | None, typer.Option(help="White where the draft may change, of its size. Without one: anywhere.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A folder of weights that training wrote.")] = None,
    lora: Annotated[
        Path | None, typer.Option(help="Or a LoRA file, beside the weights that --backbone's settings name.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Of --lora: flux_kontext, qwen_image_edit, flux2_klein.")
    ] = "flux_kontext",
    out: Annotated[
        Path | None, typer.Option(help="A .png file to write. By default DRAFT.refined.png, beside the draft.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another noise.")] = 0,
    assignments: Assignments = None,
) -> None:
    """Make a draft true to a reference. What the mask covers is painted anew; the rest stays as it is.

    Example: `omnirefiner refine draft.png photo.jpg --instruction "Restore the logo." --mask it.png --checkpoint run`
    """
    if (checkpoint is None) == (lora is None):
        raise SettingsError("refine: name the weights, by --checkpoint FOLDER or by --lora FILE, not both")
    target = out or draft.with_name(f"{draft.stem}.refined.png")
    if target.suffix.lower() != ".png":
        raise SettingsError(f"--out {target}: a refined picture is written without loss; name a .png file")
    if not target.parent.is_dir():
        raise SettingsError(f"--out {target}: there is no folder {target.parent}; make it first")

    from training.pictures import read_mask, read_picture, write_picture

    drafted, shown = read_picture(draft), read_picture(reference)
    where = None if mask is None else read_mask(mask, drafted)

    from training.checkpoints import load_weights, load_with_lora
    from training.refine import device, refine

    chosen = assignments or ()
    if checkpoint is not None:
        opened, settings = load_weights(checkpoint, chosen, device())
    else:
        assert lora is not None
        opened, settings = load_with_lora(backbone, lora, chosen, device())
    look = (settings.refine, settings.data, seed)
    refined = refine(opened, *look, drafted, shown, instruction, where, blind=settings.blind)
    write_picture(target, refined)
    print(target)
