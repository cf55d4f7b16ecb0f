"""Who a product is: a pure function of (seed, number)."""

from dataclasses import dataclass, replace

from schemas.ids import stream
from tasks.render import words
from tasks.render.artwork import BADGES, DISPLAY_FONTS, LOGOS, PATTERNS
from tasks.render.colours import Palette, mix, palette

TYPES = ("box", "can", "shirt", "mug", "plush", "poster")
GROUP = 3  # with hard negatives: a product, another one of its kind and colours, and the first one's twin


@dataclass(frozen=True)
class Product:
    """A product's identity. Products of one `look` differ in text only; `group` holds each other's hard negatives."""

    seed: int
    number: int
    product_id: str
    type: str
    look: int
    group: int
    twin_of: str | None
    brand: str
    line: str
    size: str
    palette: Palette
    font: str
    logo: str
    badge: str
    pattern: str


def product(seed: int, number: int, hard_negatives: bool = False) -> Product:
    """Return product `number` of `seed`.

    With hard negatives products come in groups of GROUP of one type and colours: the first is its own, the second
    another brand, logo and pattern, the third the first one's twin, differing in its text alone.
    """
    group, member = divmod(number, GROUP) if hard_negatives else (number, 0)
    look = number - member if member == GROUP - 1 else number
    kind = TYPES[group % len(TYPES)]
    rng = stream(seed, "look", look, hard_negatives)
    hue = stream(seed, "hue").random() + group * 0.618034
    colours = palette(stream(seed, "palette", group), hue)
    if look != group * GROUP and hard_negatives:  # the sibling's colours are near, not the same
        colours = replace(colours, accent=mix(colours.accent, colours.second, 0.15))
    text = stream(seed, "text", number)
    thing, size = words.line(text, kind)
    series = f"{kind}-{'hard' if hard_negatives else 'set'}{seed}"  # unique among all sets that may meet in a lake
    if member and member < GROUP - 1:  # its logo and pattern are not the first one's
        base = product(seed, number - member, True)
        logos, patterns = [x for x in LOGOS if x != base.logo], [x for x in PATTERNS if x != base.pattern]
    else:
        logos, patterns = list(LOGOS), list(PATTERNS)
    return Product(
        seed=seed,
        number=number,
        product_id=f"{series}-{number:05d}",
        type=kind,
        look=look,
        group=group,
        twin_of=f"{series}-{look:05d}" if look != number else None,
        brand=words.brand(seed, number),
        line=thing,
        size=size,
        palette=colours,
        font=str(rng.choice(DISPLAY_FONTS)),
        logo=str(rng.choice(logos)),
        badge=str(rng.choice(list(BADGES))),
        pattern=str(rng.choice(patterns)),
    )
