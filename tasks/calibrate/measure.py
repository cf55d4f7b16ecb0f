"""All that a lake lets one measure: pairs where photos are labelled, cuts where people judged, edits where rendered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.calibrate.curve import draw_curve
from tasks.calibrate.fit import cross_validated, fit
from tasks.calibrate.labels import LabelsError, labels_of
from tasks.calibrate.pairs import curve, judged_pairs
from tasks.calibrate.people import people_tables
from tasks.calibrate.strength import drawn, graded, strength_table
from tasks.calibrate.tables import instruction_tables, pair_tables
from tasks.calibrate.truth import by_product, check, damage, phrasings, shots_of
from tasks.catalog import read, rows
from tasks.engines.load import one_thread_each
from tasks.lake import Lake
from tasks.ledger import Row, newest_run, settings_of

GRADED = 5  # edits of each operation that are executed at several strengths


def steps(lake: Lake) -> int:
    """Return how often `measure` will tell of its progress."""
    with read(lake) as connection:
        shots = shots_of(connection)
        quadruplets = sum(len(some) for some in by_product(connection, shots))
        return quadruplets + len(drawn(connection, GRADED, list(shots)))


def measure(
    lake: Lake,
    labels_file: Path | None,
    precision: float,
    picture: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, list[Row]]:
    """Return tables by title, and draw the curve of the pairs if any are labelled.

    Of rendered photos up to GRADED edits of each operation are executed again, by the editor of the newest run.

    `precision` is what proposed cuts must reach; `advance` is told of each quadruplet that was held against the truth,
    and of each edit that was made again.

    Raises LabelsError where nothing can be measured.
    """
    one_thread_each()  # more would only wait for each other where the machine is busy
    tables: dict[str, list[Row]] = {}
    with read(lake) as connection:
        labels = labels_of(connection, labels_file)
        shots = shots_of(connection)
        by_people = people_tables(connection, precision)
        if not labels.products and not shots and not by_people:
            raise LabelsError(
                f"lake {lake.root}: nothing to measure by; build it with --blind from product folders or a "
                "manifest with products, or give --labels FILE, or judge pairs or samples with `omnirefiner review`, "
                "or build it from rendered photos"
            )
        if labels.products:
            (cuts,) = rows(connection, "SELECT same_product FROM cuts")
            pairs = judged_pairs(connection, labels)
            tables |= pair_tables(pairs, labels, cuts["same_product"], precision)
            curves = {"as the judge scored them": curve(pairs, labels.true_pairs())}
            if fit(pairs) is not None:
                curves["judge fitted on other products"] = curve(cross_validated(pairs), labels.true_pairs())
            draw_curve(curves, cuts["same_product"], precision, picture)
        tables |= by_people
        if shots:
            tables |= instruction_tables(*check(connection, lake, shots, advance))
            run = newest_run(lake)
            if run is not None:
                edits = graded(lake, settings_of(run), drawn(connection, GRADED, list(shots)), advance)
                tables["The same edits, stronger and stronger"] = strength_table(edits)
        tables["The change against the region asked for, before paste-back"] = damage(connection)
        tables["Words"] = phrasings(connection)
    return tables
