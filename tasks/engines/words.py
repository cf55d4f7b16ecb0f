"""The grammar of instructions: what to do to which thing at which place, and how to ask for it to be put right.

Places are the viewer's: left is the left of the image. A restoration never says what the reference shows, nor what was
done to the input: the refiner must look. It may say what anybody sees to be wrong.
"""

from collections.abc import Sequence

import numpy as np

from schemas.records import Category, Mask, Operation, Point, Polygon, Task

CENTRE = 0.12  # half the width and height of the middle, relative to the image

# (column, row), -1 left or top, 1 right or bottom
_PLACES = {
    (-1, -1): ("at the upper left", "in the upper left", "at the top left", "towards the upper left"),
    (0, -1): ("at the top", "near the top", "in the upper middle", "towards the top"),
    (1, -1): ("at the upper right", "in the upper right", "at the top right", "towards the upper right"),
    (-1, 0): ("on the left", "on the left side", "at the left", "towards the left"),
    (0, 0): ("in the centre", "in the middle", "at the centre", "in the middle of the image"),
    (1, 0): ("on the right", "on the right side", "at the right", "towards the right"),
    (-1, 1): ("at the lower left", "in the lower left", "at the bottom left", "towards the lower left"),
    (0, 1): ("at the bottom", "near the bottom", "in the lower middle", "towards the bottom"),
    (1, 1): ("at the lower right", "in the lower right", "at the bottom right", "towards the lower right"),
}

_TAILS = (
    "",
    ", and leave everything else as it is",
    ", and keep the rest of the photo unchanged",
    ". Change nothing else",
    ". Leave the rest of the photo alone",
    ", without touching what is around it",
)

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def centre_of(polygon: Polygon) -> Point:
    """Return the centre of a polygon's area, or the mean of its corners if it has none."""
    corners = np.asarray(polygon, dtype=np.float64)
    around = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * around[:, 1] - around[:, 0] * corners[:, 1]
    if abs(cross.sum()) < 1e-9:
        x, y = corners.mean(axis=0)
    else:
        x, y = ((corners + around) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    return float(np.clip(x, 0, 1)), float(np.clip(y, 0, 1))


def centre_of_mask(mask: Mask) -> Point:
    """Return the centre of what a mask ((H, W) bool, not empty) covers, relative."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return float((columns.mean() + 0.5) / width), float((rows.mean() + 0.5) / height)


def places(point: Point) -> tuple[str, ...]:
    """Return the words for where a relative point lies, as the viewer sees it; all mean the same ninth of the image."""
    column, row = (0 if abs(at - 0.5) <= CENTRE else (1 if at > 0.5 else -1) for at in point)
    return _PLACES[column, row]


def subject(rng: np.random.Generator, category: Category, noun: str, colour: str | None, text: str | None) -> str:
    """Return what to call a thing: "the word 'NOVA'", "the red emblem", "the green pattern", "the face"."""
    if text is not None:
        kinds = ("number", "text") if text.isdigit() else ("text", "line") if " " in text else ("word", "text")
        return f"the {_one(rng, kinds)} '{text}'"
    match category:
        case Category.TEXT:
            noun = _one(rng, ("text", "lettering", "writing"))
        case Category.LOGO:
            noun = _one(rng, ("logo", "emblem"))
        case Category.OBJECT_DETAIL:
            noun = _one(rng, ("part", "area", "detail"))
        case Category.PATTERN | Category.FACE:
            pass
    return f"the {colour} {noun}" if colour else f"the {noun}"


def another_text(rng: np.random.Generator, text: str) -> str:
    """Return another text of the same length, case and punctuation that can be spoken: no sign stays in its place."""
    vowel = bool(rng.random() < 0.3)
    signs = []
    for sign in text:
        if sign.isdigit():
            signs.append(_one(rng, [digit for digit in "0123456789" if digit != sign]))
        elif sign.isalpha():
            letter = _one(rng, [letter for letter in (_VOWELS if vowel else _CONSONANTS) if letter != sign.lower()])
            signs.append(letter.upper() if sign.isupper() else letter)
            vowel = not vowel
        else:
            signs.append(sign)
    return "".join(signs)


def edit_sentence(
    rng: np.random.Generator, operation: Operation, subject: str, place: str, text_after: str | None
) -> str:
    """Return the instruction to the editing model: what to do to `subject` at `place`."""
    opening = _one(rng, (f"{place}, ", "in this photo, ", "in the picture, ", "", "", ""))
    located = subject if opening.startswith(place) else f"{subject} {place}"
    deed = _one(rng, _DEEDS[operation]).format(subject=located, new=f"'{text_after}'")
    return _finished(opening + deed + _one(rng, _RESULTS[operation]) + _one(rng, _TAILS))


def restore_sentence(rng: np.random.Generator, category: Category, operation: Operation, place: str) -> str:
    """Return the instruction to the refiner: put the thing at `place` right by the reference image.

    It names the category, the place and what is seen to be wrong, never the operation, its parameters, a text or a
    colour.
    """
    noun = _one(rng, _NOUNS[category])
    flaw = _one(rng, _flaws(category, operation))
    reference = _one(rng, ("the reference image", "the reference", "the reference photo"))
    thing = f"the {flaw} {noun} {place}" if rng.random() < 0.6 else f"the {noun} {place}"
    frames = _REPLACE_FRAMES if operation.task is Task.REF_REPLACE else _FIX_FRAMES
    verbs = _REPLACE_VERBS if operation.task is Task.REF_REPLACE else _FIX_VERBS
    frame = _one(rng, frames)
    sentence = frame.format(
        verb=_one(rng, verbs), thing=thing, noun=noun, plain=f"the {noun} {place}", flaw=flaw, reference=reference
    )
    return _finished(sentence + _one(rng, _TAILS[:5]))


_DEEDS: dict[Operation, tuple[str, ...]] = {
    Operation.GARBLE: (
        "garble {subject}",
        "scramble {subject}",
        "break up the strokes of {subject}",
        "muddle the strokes of {subject}",
        "make a muddle of {subject}",
    ),
    Operation.RETYPE: (
        "replace {subject} with {new}",
        "change {subject} to {new}",
        "rewrite {subject} as {new}",
        "swap {subject} for {new}",
        "make {subject} read {new}",
        "let {subject} say {new} instead",
    ),
    Operation.SMEAR: (
        "smear {subject}",
        "smudge {subject}",
        "melt the details of {subject} together",
        "let the details of {subject} run into each other",
        "drag the details of {subject} together",
    ),
    Operation.RESYNTHESISE: (
        "redraw {subject} with detail that is only similar",
        "repaint {subject} with made-up detail of the same kind",
        "fill {subject} with invented texture of the same look",
        "make up the texture of {subject} anew",
        "redo the fine structure of {subject} from memory",
    ),
    Operation.WARP: (
        "warp {subject}",
        "bend {subject} out of shape",
        "distort {subject}",
        "twist {subject} out of shape",
        "deform {subject}",
    ),
    Operation.RECOLOUR: (
        "recolour {subject}",
        "change the colours of {subject}",
        "shift the colours of {subject}",
        "give {subject} other colours",
        "tint {subject} differently",
    ),
    Operation.RESAMPLE: (
        "take the fine detail out of {subject}",
        "make {subject} look low in resolution",
        "soften {subject}",
        "blur the fine detail of {subject}",
        "render {subject} at a lower resolution",
    ),
    Operation.AUTOENCODE: (
        "simplify the fine structure of {subject}",
        "render {subject} less precisely",
        "lose some of the fine detail of {subject}",
        "redraw {subject} with less precise detail",
        "let the fine detail of {subject} wash out",
    ),
    Operation.REBRAND: (
        "replace {subject} with a different one",
        "swap {subject} for another one",
        "exchange {subject} for one of another brand",
        "put a different design in the place of {subject}",
        "turn {subject} into that of another brand",
    ),
    Operation.REPATTERN: (
        "replace the surface of {subject} with a different pattern",
        "cover {subject} with another pattern",
        "give {subject} a different pattern",
        "put another pattern in the place of {subject}",
        "swap the look of {subject} for another pattern",
    ),
}

_RESULTS: dict[Operation, tuple[str, ...]] = {
    Operation.GARBLE: (
        "",
        " so that it cannot be made out any more",
        " until it means nothing",
        " until nobody can make sense of it",
    ),
    Operation.RETYPE: ("", " in the same style", ", set in the same way", " and keep its size and colour"),
    Operation.SMEAR: ("", " so that its detail is lost", " until it looks muddy", " so that nothing in it is crisp"),
    Operation.RESYNTHESISE: ("", ", so that it looks alike but is not the same", ", wrong in its particulars"),
    Operation.WARP: ("", " so that its proportions are wrong", " so that its lines no longer run true", " visibly"),
    Operation.RECOLOUR: ("", ", keeping its shape", " so that it looks wrong", ", plainly enough to be seen"),
    Operation.RESAMPLE: ("", ", keeping its shapes", " so that nothing in it is crisp", ", as if it were out of focus"),
    Operation.AUTOENCODE: ("", " so that it looks slightly off", ", keeping its large shapes", ", keeping its colours"),
    Operation.REBRAND: ("", ", no larger and no smaller", ", printed the same way", ", lit and angled like the rest"),
    Operation.REPATTERN: ("", ", lit like the rest", ", following the same shape", ", as bold as before"),
}

_NOUNS: dict[Category, tuple[str, ...]] = {
    Category.TEXT: ("text", "lettering", "writing"),
    Category.LOGO: ("logo", "emblem"),
    Category.PATTERN: ("pattern", "patterned surface"),
    Category.FACE: ("face",),
    Category.OBJECT_DETAIL: ("detail", "part", "area"),
}

_FIX_VERBS = ("restore", "repair", "correct", "fix", "rebuild", "recover", "mend")
_REPLACE_VERBS = ("replace", "exchange", "swap")

_FIX_FRAMES = (
    "{verb} {thing} so that it matches {reference}",
    "{verb} {thing} to match {reference}",
    "{verb} {thing} using {reference}",
    "{verb} {thing} with {reference} as the guide",
    "{verb} {thing} as {reference} shows it",
    "make {thing} true to {reference}",
    "bring {thing} back in line with {reference}",
    "use {reference} to {verb} {thing}",
    "look at {reference} and {verb} {thing}",
    "{plain} looks {flaw}: {verb} it from {reference}",
    "{plain} is {flaw}. {verb} it so that it matches {reference}",
)
_REPLACE_FRAMES = (
    "replace {thing} with the one in {reference}",
    "replace {thing} by the one that {reference} shows",
    "exchange {thing} for the one in {reference}",
    "swap {thing} for the one seen in {reference}",
    "put the {noun} from {reference} in the place of {thing}",
    "use {reference} to replace {thing} with the right one",
    "look at {reference} and {verb} {thing} accordingly",
    "{plain} is {flaw}: replace it with the one in {reference}",
    "{plain} does not belong there. Put the one from {reference} in its place",
    "{plain} is not the one in {reference}: {verb} it",
    "change {thing} into the one in {reference}",
)


def _flaws(category: Category, operation: Operation) -> tuple[str, ...]:
    match operation:
        case Operation.GARBLE:
            return ("unreadable", "illegible", "broken") if category is Category.TEXT else ("broken", "unrecognisable")
        case Operation.SMEAR:
            return ("muddy", "unclear", "indistinct")
        case Operation.RESAMPLE:
            return ("soft", "unclear", "indistinct")
        case Operation.AUTOENCODE:
            return ("imprecise", "soft", "indistinct")
        case Operation.RESYNTHESISE:
            return ("inaccurate", "unfaithful", "altered")
        case Operation.WARP:
            return ("misshapen", "deformed", "crooked")
        case Operation.RECOLOUR:
            return ("miscoloured", "wrongly coloured", "discoloured")
        case Operation.RETYPE | Operation.REBRAND | Operation.REPATTERN:
            return ("wrong", "incorrect")


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _finished(text: str) -> str:
    """Return text whose sentences begin with a capital and end with a full stop."""
    return ". ".join(part[:1].upper() + part[1:] for part in text.split(". ")) + "."
