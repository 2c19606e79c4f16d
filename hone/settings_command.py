"""`hone settings`: what may be set, what counts here, and what it means."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from hone.output import JsonOption, show_table, write_json
from learner.settings import LearnerSettings
from runtime.settings import load_settings


def settings(json: JsonOption = None) -> None:
    """Every setting by its variable: what counts in this folder with these variables, the default, and the meaning.

    A file hone.toml in the folder where hone runs may hold those of the server, by their names in small letters without HONE_; a
    variable wins over it.
    """
    rows = [*_rows(load_settings(), "HONE_"), *_rows(LearnerSettings(), "HONE_LEARN_")]
    if json:
        write_json({"settings": rows}, json)
        return
    shown = [(row["variable"], row["value"], row["default"], row["meaning"]) for row in rows]
    show_table("Settings", ("variable", "value", "default", "meaning"), shown)


def _rows(section: BaseModel, prefix: str) -> Iterator[dict[str, str | None]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name.upper()}__")
            continue
        meaning = " ".join((field.description or "").split())
        yield {
            "variable": f"{prefix}{name.upper()}",
            "value": _written(value),
            "default": _written(field.get_default()),
            "meaning": meaning,
        }


def _written(value: Any) -> str | None:
    """As the environment would have it, without secrets."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return re.sub(r"(?<=//)[^/@\s]+@", "***@", str(value))
