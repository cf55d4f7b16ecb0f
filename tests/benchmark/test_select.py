"""A choice keeps its rules, whatever there is to choose from, and says what it could not keep."""

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.select import CANDIDATES, MARGINALS, bins_of, quotas, select
from schemas.benchmark import SHARES, STRATA, Damage, Selection
from schemas.ids import digest, stream


def pool(count: int, seed: int = 0, products: int = 40) -> pa.Table:
    """Candidates of all strata, some of them scarce, two of each cluster."""
    random = stream(seed, "pool")
    strata = [name.split(", ") for name in STRATA]
    drawn = random.choice(len(strata), count, p=[0.3, 0.15, 0.1, 0.1, 0.1, 0.05, 0.08, 0.02, 0.08, 0.02])
    return pa.table({
        "quadruplet_id": [digest("candidate", seed, number) for number in range(count)],
        "category": [strata[one][0] for one in drawn],
        "task": [strata[one][1] for one in drawn],
        "product": [f"product {one}" for one in random.integers(0, products, count)],
        "cluster": [f"cluster {number // 2}" for number in range(count)],
        "mask_area": random.uniform(0.005, 0.05, count),
        "damage": random.normal(20, 4, count),
        "view": random.uniform(0, 2, count),
    }, schema=CANDIDATES)  # fmt: skip


@settings(max_examples=30)
@given(
    count=st.integers(0, 400), size=st.integers(1, 150), seed=st.integers(0, 5), products=st.integers(1, 30),
    per_product=st.integers(1, 20), per_cluster=st.integers(1, 2), least=st.floats(0, 0.33),
)  # fmt: skip
def test_caps_hold_and_what_is_not_missing_is_there(
    count: int, size: int, seed: int, products: int, per_product: int, per_cluster: int, least: float
) -> None:
    rules = Selection(seed=seed, per_product=per_product, per_cluster=per_cluster, damage=Damage(least=least))
    chosen = select(pool(count, seed, products), size, rules)
    rows: list[dict[str, Any]] = chosen.members.to_pylist()
    assert len(rows) <= size
    assert max(Counter(row["product"] for row in rows).values(), default=0) <= per_product
    assert max(Counter(row["cluster"] for row in rows).values(), default=0) <= per_cluster
    missing = {one.what: one.missing for one in chosen.unfilled}
    there = Counter(f"{row['category']}, {row['task']}" for row in rows)
    assert there.keys() <= SHARES.keys()  # nothing of a stratum that has no share
    for name, wanted in quotas(size, SHARES).items():
        assert there[name] == wanted - missing.get(name, 0)
    bins = Counter(bins_of(chosen.members["damage"].to_numpy(), rules.damage).tolist())
    for number, name in enumerate(("damage under 17", "damage 17 to 23", "damage from 23")):
        assert bins[number] >= least * size - missing.get(name, 0) - 1e-9


def test_a_pool_that_is_large_enough_fills_all() -> None:
    chosen = select(pool(4000, products=300), 400, Selection())
    assert chosen.unfilled == ()
    assert chosen.members.num_rows == 400
    for figure in MARGINALS:
        bins = Counter(bins_of(chosen.members[figure].to_numpy(), getattr(Selection(), figure)).tolist())
        assert min(bins.values()) >= 40


def test_the_same_catalogue_and_seed_make_the_same_choice_in_whatever_order_it_comes() -> None:
    candidates = pool(600)
    shuffled = candidates.take(pa.array(stream(1, "shuffle").permutation(600)))
    first, again = select(candidates, 80, Selection()), select(shuffled, 80, Selection())
    assert first.digest == again.digest
    assert first.members.equals(again.members)
    assert select(candidates, 80, Selection(seed=1)).digest != first.digest


def test_what_is_missing_is_told_with_how_much_there_is() -> None:
    candidates = pool(600)
    few = candidates.filter(pa.array([one != "face" for one in candidates["category"].to_pylist()]))
    (short,) = [one for one in select(few, 80, Selection()).unfilled if one.what.startswith("face")]
    assert (short.what, short.wanted, short.found, short.missing, short.candidates) == ("face, ref-fix", 10, 0, 10, 0)


def test_products_take_turns() -> None:
    """One product has most of the candidates, and no more than its turn of the choice."""
    candidates = pool(600, products=10)
    crowd = [f"crowd {number % 7 == 0}" if number > 200 else f"few {number % 20}" for number in range(600)]
    table = candidates.set_column(3, "product", pa.array(crowd))
    chosen = select(table, 40, Selection(per_product=40))
    assert max(Counter(chosen.members["product"].to_pylist()).values()) <= 8


def test_a_figure_that_nobody_measured_is_not_asked_for() -> None:
    candidates = pool(600)
    unknown = candidates.set_column(7, "view", pa.array([None] * 600, pa.float64()))
    chosen = select(unknown, 40, Selection())
    assert chosen.skipped == ("view",)
    assert not any("view" in one.what for one in chosen.unfilled)
