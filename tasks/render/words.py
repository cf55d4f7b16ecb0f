"""What products are called and what is written on them: invented brands and lines of smaller text."""

from math import gcd

import numpy as np

ONSETS = (
    "b",
    "br",
    "c",
    "d",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
)
VOWELS = "aeiou"
MIDDLES = tuple(c + v for c in "bdlmnrstv" for v in "aeio")
ENDINGS = ("", "n", "s", "l", "r", "x", "ra", "na", "to", "li")
BRANDS = len(ONSETS) * len(VOWELS) * len(MIDDLES) * len(ENDINGS)  # 43,200 different names
STRIDE = 27_644_437  # coprime to BRANDS: neighbours in number share no syllable
assert gcd(STRIDE, BRANDS) == 1

QUALITIES = ("Organic", "Classic", "Golden", "Mountain", "Original", "Wild", "Sunny", "Nordic", "Fresh", "Little")
THINGS = {
    "box": ("Oat Crunch", "Green Tea", "Corn Flakes", "Sea Salt Crackers", "Ginger Cookies", "Herbal Soap", "Muesli"),
    "can": ("Lemon Soda", "Cold Brew", "Ginger Ale", "Tomato Soup", "Pale Ale", "Peach Iced Tea", "Coconut Water"),
    "shirt": ("Surf Club", "Running Team", "Road Crew", "Music School", "Climbing Gym", "Radio Station", "Bike Works"),
    "mug": ("Coffee House", "Tea Room", "Bakery & Bar", "Book Corner", "Morning Club", "Roasters", "Camping Co."),
    "plush": ("Soft Friends", "Cuddle Club", "Forest Pals", "Sleepy Toys", "Happy Zoo", "Cotton Crew", "Toy Works"),
    "poster": (
        "Film Festival",
        "Jazz Nights",
        "Art Week",
        "Book Fair",
        "Summer Concert",
        "Dance Theatre",
        "Opera Gala",
    ),
}
SIZES = {
    "box": ("250 g", "400 g", "12 x 20 g", "500 g", "750 g"),
    "can": ("330 ml", "250 ml", "400 g", "500 ml"),
    "shirt": ("since 1974", "est. 1988", "No. 27", "est. 2003"),
    "mug": ("since 1921", "est. 1965", "No. 8", "12 oz"),
    "plush": ("100% cotton", "for ages 3+", "hand made", "washable"),
    "poster": ("5-12 May", "21 June", "Hall 4", "3-9 October", "Free Entry"),
}
FILLER = (
    "keep in a cool and dry place", "best before see base", "made with care from whole grains", "natural flavour added",
    "serve chilled and shake well", "recycle this pack please", "visit our farm for more", "contains no added sugar",
)  # fmt: skip


def brand(seed: int, number: int) -> str:
    """Return the brand of product `number`: no two products of a seed share one below `BRANDS`.

    Every part is a consonant-vowel syllable (endings may be empty or one consonant), so a name parses one way only.
    """
    rest = (seed * 7919 + number * STRIDE) % BRANDS
    rest, ending = divmod(rest, len(ENDINGS))
    rest, middle = divmod(rest, len(MIDDLES))
    onset, vowel = divmod(rest, len(VOWELS))
    return (ONSETS[onset] + VOWELS[vowel] + MIDDLES[middle] + ENDINGS[ending]).upper()


def line(rng: np.random.Generator, kind: str) -> tuple[str, str]:
    """Return what a product of `kind` says under its brand: the thing ('Organic Green Tea') and a size or date."""
    return f"{rng.choice(QUALITIES)} {rng.choice(THINGS[kind])}", str(rng.choice(SIZES[kind]))


def paragraph(rng: np.random.Generator, count: int) -> list[str]:
    """Return `count` lines of small print."""
    return [str(text) for text in rng.choice(FILLER, count)]
