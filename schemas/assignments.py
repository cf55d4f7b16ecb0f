"""Settings as they are given, a profile's values with `key=value`s on top, brought into a typed model."""

import difflib
import tomllib
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.errors import SettingsError
from schemas.records import Record

Model = TypeVar("Model", bound=Record)


def validated(model: type[Model], values: dict[str, Any], assignments: Sequence[str], profile: str | None) -> Model:
    """Return a model of `values` with `key=value`s on top; `profile` says whose the values are, None: nobody's.

    Raises SettingsError naming the wrong key or value and the nearest right one.
    """
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign:
            raise SettingsError(f"--set {assignment}: no '='; write it as --set key=value, as in --set run.workers=4")
        _assign(model, values, key.strip(), _parse(text.strip()))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(model, error, profile)) from None


def keys_of(model: type[Record], prefix: str = "") -> list[str]:
    """Return every dotted key of a model."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Record):
            keys += keys_of(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _parse(text: str) -> Any:
    """Read a value as TOML does; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(model: type[Record], values: dict[str, Any], key: str, value: Any) -> None:
    known = keys_of(model)
    if key not in known:
        raise SettingsError(f"--set {key}: no such setting; {_nearest(key, known)}")
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {key}: the profile has a value where the section '{section}' belongs; mend it")
        values = inner
    values[last] = value


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:  # the section may be right or missing: compare last parts
        by_last = {k.rsplit(".", 1)[-1]: k for k in known}
        near = [by_last[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_last, n=1, cutoff=0.5)]
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"


def _explain(model: type[Record], error: ValidationError, profile: str | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"profile '{profile}', {key}: no such setting; {_nearest(key, keys_of(model))}"
    given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
    where = f"in the profile '{profile}' or with --set" if profile else "with --set"
    return f"setting {key}: {first['msg']}{given}; mend it {where}"
