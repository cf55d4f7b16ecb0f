"""The demo: the whole job on rendered photos."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.build import build
from flows.commands.catalogue import report, sheet
from flows.commands.versions import verified

app = typer.Typer()


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="A new or empty folder for the photos and their truth.")],
    products: Annotated[int, typer.Option(min=1, help="How many products.")] = 8,
    views: Annotated[int, typer.Option(min=1, help="How many photos of each; every sixth shows the back.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, other products.")] = 0,
    size: Annotated[int, typer.Option(min=128, max=2048, help="Pixels of the longer side.")] = 640,
    hard_negatives: Annotated[
        bool, typer.Option("--hard-negatives", help="Products in threes: one, a look-alike, a twin with another text.")
    ] = False,
) -> None:
    """Render photos of products that do not exist, with the truth about them in truth.jsonl.

    Example: `omnirefiner render photos --products 12 --views 6`
    """
    from flows.progress import progress
    from tasks.render.photos import render_set

    with progress("products", products) as advance:
        render_set(out, products, views, seed, size, hard_negatives, advance)
    print(f"{products} products, {products * views} photos: {out}")


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to put photos and lake.")] = Path("demo")) -> None:
    """Run the whole job on rendered photos: render, build, publish version 'demo', verify.

    Example: `omnirefiner demo`
    """
    photos, lake, picture, page = folder / "photos", folder / "lake", folder / "sheet.jpg", folder / "report.html"
    if not (photos / "truth.jsonl").exists():  # written last
        render(photos)
    published = (lake / "versions" / "demo.json").exists()
    build(photos, lake, publish=None if published else "demo")
    sheet(picture, lake)
    report(page, lake)
    if verified("demo", lake):
        raise typer.Exit(1)
    print(f"""
Photos:      {photos}
Lake:        {lake}  (shards/, versions/demo.json, catalog.duckdb)
Picture:     {picture}
Report:      {page}  (open it in a browser)

Next (after `. .venv/bin/activate`):
  omnirefiner status --lake {lake}
  omnirefiner query "SELECT task, category, count(*) AS n FROM quadruplets GROUP BY ALL ORDER BY n DESC" --lake {lake}
  omnirefiner why box-set0-00000/00.jpg --lake {lake}
  omnirefiner build YOUR_PHOTOS --lake lake""")
