"""Licences of what is exported: of the photos, by count, and the one word that hubs want for the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.ledger import Row

# what manifests of photos say -> the identifier that the Hugging Face hub knows, and where its text is
KNOWN = {
    "cc0": ("cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "cc by 4.0": ("cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/"),
    "cc by 3.0": ("cc-by-3.0", "https://creativecommons.org/licenses/by/3.0/"),
    "cc by 2.0": ("cc-by-2.0", "https://creativecommons.org/licenses/by/2.0/"),
    "cc by sa 4.0": ("cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
    "cc by sa 3.0": ("cc-by-sa-3.0", "https://creativecommons.org/licenses/by-sa/3.0/"),
    "cc by nc 4.0": ("cc-by-nc-4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
    "cc by nc sa 4.0": ("cc-by-nc-sa-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
    "cc by nd 4.0": ("cc-by-nd-4.0", "https://creativecommons.org/licenses/by-nd/4.0/"),
    "apache 2.0": ("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "mit": ("mit", "https://opensource.org/license/mit"),
}
ALIASES = {"cc0 1.0": "cc0", "cc zero": "cc0", "apache": "apache 2.0"}

UNSTATED = "not stated"
SECTION = "README.md#licences"


def of_photos(said: Row) -> tuple[str, ...]:
    """Return the licences of a sample's photos, each once."""
    return tuple(sorted({said["target_licence"] or UNSTATED, said["reference_licence"] or UNSTATED}))


def of_all(photos: Mapping[tuple[str, ...], int], models: Sequence[Row]) -> Row:
    """Return the hub's fields for a dataset of such photos, by samples, whose edits and words such models made.

    One licence stands for all only where every photo has it and no model's terms come on top.
    """
    names = sorted({name for each in photos for name in each})
    if names == [UNSTATED] and not models:
        return {"license": "unknown"}
    if len(names) == 1 and not models and (known := _known(names[0])):
        return {"license": known[0]}
    terms = sorted({model["licence"] or UNSTATED for model in models})
    told = "photos: " + ", ".join(names) + (f"; models: {', '.join(terms)}" if terms else "")
    return {
        "license": "other",
        "license_name": told if len(names) + len(terms) < 6 else "mixed",
        "license_link": SECTION,
    }


def url(name: str) -> str | None:
    """Return where the text of a licence is, if that is known."""
    known = _known(name)
    return known[1] if known else None


def _known(name: str) -> tuple[str, str] | None:
    plain = " ".join(name.lower().replace("-", " ").replace("_", " ").split())
    return KNOWN.get(ALIASES.get(plain, plain))
