"""All pairs of near hashes: ours beside DuckDB's join by bands and faiss's flat search, in one run.

Each runs in a process of its own, from its imports on; what it takes the first time (Numba's compiler, or what it left
in its cache) is in the figure. DuckDB and faiss are asked at the size that they manage.

python -m benchmark.speed.near_duplicates --help
"""

import json
import subprocess
import sys
import time
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from schemas.ids import stream

DISTANCE = 8
LARGEST = 200  # of the skewed set's clusters

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def uniform(count: int) -> NDArray[np.uint64]:
    """Return hashes drawn evenly."""
    return stream(0, "uniform").integers(0, 2**64, count, dtype=np.uint64)


def skewed(count: int) -> NDArray[np.uint64]:
    """Return hashes of which 30% lie in clusters of Zipf's sizes up to 200, each up to three bits off its centre."""
    draw = stream(0, "skewed")
    weights = 1 / np.arange(1, LARGEST + 1)
    sizes = draw.choice(LARGEST, count, p=weights / weights.sum()) + 1
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), 0.3 * count))]
    clustered = np.repeat(draw.integers(0, 2**64, len(sizes), dtype=np.uint64), sizes)
    for _ in range(3):
        clustered ^= np.uint64(1) << draw.integers(0, 64, len(clustered), dtype=np.uint64)
    alone = draw.integers(0, 2**64, count - len(clustered), dtype=np.uint64)
    return draw.permutation(np.concatenate([alone, clustered]))


SETS = {"uniform": uniform, "skewed": skewed}


def ours(hashes: NDArray[np.uint64]) -> int:
    """Count the pairs by `tasks.engines.hamming`."""
    from tasks.engines.hamming import pairs_within

    return len(pairs_within(hashes, DISTANCE))


def ours_new(hashes: NDArray[np.uint64]) -> int:
    """Count the pairs of a thousand new hashes, near some of the others, with all."""
    from tasks.engines.hamming import pairs_between

    pairs_between(hashes[:1], hashes[:1], DISTANCE)  # that is of the first call, not of the new hashes
    start = time.perf_counter()
    found = len(pairs_between(hashes[:1000] ^ np.uint64(5), hashes, DISTANCE))
    print(json.dumps({"new": time.perf_counter() - start}))
    return found


def by_duckdb(hashes: NDArray[np.uint64]) -> int:
    """Count the pairs that share one of nine bands: eight bits that differ leave one of them whole."""
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect(config={"threads": 2})
    connection.register("given", pa.table({"i": np.arange(len(hashes)), "h": hashes}))
    widths = [7] * 8 + [8]
    shifts = np.concatenate([[0], np.cumsum(widths)[:-1]])
    keys = ", ".join(f"(h >> {shift}) & {2**width - 1}" for shift, width in zip(shifts, widths, strict=True))
    connection.execute(
        f"CREATE TABLE banded AS SELECT i, h, unnest([{keys}]) AS key, unnest(range(9)) AS band FROM given"
    )
    sql = f"""SELECT count(*) FROM (SELECT DISTINCT a.i, b.i FROM banded a JOIN banded b
              ON a.band = b.band AND a.key = b.key AND a.i < b.i WHERE bit_count(xor(a.h, b.h)) <= {DISTANCE})"""
    return int(connection.execute(sql).fetchall()[0][0])


def by_faiss(hashes: NDArray[np.uint64]) -> int:
    """Count the pairs by faiss's exhaustive search over binary vectors."""
    import faiss

    index: Any = faiss.IndexBinaryFlat(64)
    packed = hashes.view(np.uint8).reshape(-1, 8)
    index.add(packed)
    limits, _, _ = index.range_search(packed, DISTANCE + 1)
    return int(limits[-1] - len(hashes)) // 2


CONTENDERS = {"ours": ours, "1,000 new against all": ours_new, "duckdb, 9 bands": by_duckdb, "faiss flat": by_faiss}


@app.command()
def main(
    count: Annotated[int, typer.Option(help="Hashes for ours.")] = 1_000_000,
    fair: Annotated[int, typer.Option(help="Hashes for the others, and for ours beside them.")] = 30_000,
    only: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Count the pairs of hashes that differ in eight bits at most, of a uniform and of a skewed set."""
    if only:
        kind, name, size = only.split("|")
        hashes = SETS[kind](int(size))
        start = time.perf_counter()
        found = CONTENDERS[name](hashes)
        print(json.dumps({"pairs": found, "seconds": time.perf_counter() - start}))
        return
    table = Table(title=f"All pairs within {DISTANCE} bits, imports and compiling included", title_justify="left")
    for column in ("set", "hashes", "contender", "seconds", "pairs"):
        table.add_column(column, justify="right")
    for kind in SETS:
        sizes = [(name, fair) for name in CONTENDERS if "new" not in name]
        for name, many in [("ours", count), ("1,000 new against all", count), *sizes]:
            command = [sys.executable, "-m", "benchmark.speed.near_duplicates", "--only", f"{kind}|{name}|{many}"]
            lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
            told: dict[str, float] = {key: value for line in lines for key, value in json.loads(line).items()}
            seconds = told.get("new", told["seconds"])
            table.add_row(kind, f"{many:,}", name, f"{seconds:.2f}", f"{told['pairs']:,.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    app()
