"""The laws of planning, whatever the version, the batch, the window and the seed."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.plan import Layout, planned, shuffled


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
    shard = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    kinds = draw(st.integers(1, 5))
    aspect = np.array(draw(st.lists(st.integers(0, kinds - 1), min_size=len(shard), max_size=len(shard))), np.int32)
    return Layout(draw(st.text(max_size=3)), shard, aspect)


counts, seeds, epochs = st.integers(1, 17), st.integers(0, 3), st.integers(0, 5)


@given(layouts(), counts, counts, seeds, epochs)
def test_every_sample_is_seen_once_but_for_less_than_a_batch(
    layout: Layout, batch: int, window: int, seed: int, epoch: int
) -> None:
    plan = planned(layout, batch, window, seed, epoch)
    assert plan.samples.shape == (len(layout.shard) // batch, batch)
    assert len(plan.rest) < batch
    assert sorted([*plan.samples.ravel().tolist(), *plan.rest.tolist()]) == list(range(len(layout.shard)))


@given(layouts(), counts, counts, seeds, epochs)
def test_an_epoch_follows_from_its_arguments_alone(
    layout: Layout, batch: int, window: int, seed: int, epoch: int
) -> None:
    first, second = (planned(layout, batch, window, seed, epoch) for _ in range(2))
    assert np.array_equal(first.samples, second.samples)
    assert np.array_equal(first.rest, second.rest)


@given(layouts(), counts, counts, seeds, epochs)
def test_batches_are_of_one_aspect_but_for_what_is_left_at_the_end(
    layout: Layout, batch: int, window: int, seed: int, epoch: int
) -> None:
    plan = planned(layout, batch, window, seed, epoch)
    pure = sum(count // batch for count in Counter(layout.aspect.tolist()).values())
    assert (layout.aspect[plan.samples[:pure]] == plan.aspects[:pure, None]).all()
    for samples, aspect in zip(plan.samples[pure:], plan.aspects[pure:], strict=True):
        assert aspect in layout.aspect[samples]  # and the left ones are mixed with those of like aspect alone
    mixed = layout.aspect[plan.samples[pure:]].ravel()
    assert (np.diff(mixed) >= 0).all()


@given(layouts(), st.integers(1, 30), seeds, epochs)
def test_a_shard_is_read_within_the_windows_that_it_lies_in(layout: Layout, window: int, seed: int, epoch: int) -> None:
    order = shuffled(layout, window, seed, epoch)
    assert sorted(order.tolist()) == list(range(len(layout.shard)))
    for shard, size in Counter(layout.shard.tolist()).items():
        places = np.flatnonzero(layout.shard[order] == shard)
        assert places.max() // window - places.min() // window <= (size + window - 2) // window


def test_epochs_seeds_and_contents_give_other_orders() -> None:
    shard = np.repeat(np.arange(8), 8).astype(np.int32)
    orders = {
        tuple(shuffled(Layout(content, shard, shard), 16, seed, epoch).tolist())
        for content in "ab"
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 8


def test_what_is_left_out_changes_from_epoch_to_epoch() -> None:
    layout = Layout("a", np.zeros(19, np.int32), np.zeros(19, np.int32))
    left_out = {int(sample) for epoch in range(200) for sample in planned(layout, 6, 64, 0, epoch).rest}
    assert left_out == set(range(19))
