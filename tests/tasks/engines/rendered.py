"""Pairs of rendered photos of six products, one of each type, with their truth, shared by tests of the writer."""

from functools import cache

from schemas.records import Photo
from tasks.engines.correspond import Correspondences, features_once, match
from tasks.engines.regions import Region, propose
from tasks.render.photos import render_view
from tasks.render.products import TYPES, product
from tasks.render.truth import Render

SEED, SIZE = 7, 512
NUMBERS = range(len(TYPES))


@cache
def rendered(number: int, view: int) -> Render:
    """Return a view of a product and its truth."""
    return render_view(product(SEED, number), view, SEED, SIZE)


@cache
def photographed(number: int, view: int) -> Photo:
    """Return a view of a product as engines see it."""
    return Photo(f"rendered/{number}/{view}", rendered(number, view).pixels)


@cache
def matched(number: int) -> Correspondences:
    """Return what matches between the first two views of a product."""
    return match(features_once(photographed(number, 0)), features_once(photographed(number, 1)))


@cache
def proposed(number: int) -> list[Region]:
    """Return the regions of a product's first view that its second shows."""
    return propose(photographed(number, 0), photographed(number, 1), matched(number))
