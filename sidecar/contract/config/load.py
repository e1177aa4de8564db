"""From a TOML file and ``SIDEBEAT_…`` variables to a ``Config``, or to lines that name what is wrong and where."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.contract.config.sections import Config

PREFIX = "SIDEBEAT_"
"""``SIDEBEAT_STORE__URL`` is ``[store] url``: two underscores go one level down; lists and tables are JSON."""


class ConfigError(ValueError):
    """A config that cannot be used. ``problems`` holds one line each, the key's path first."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the lines; the message is the first, and how many more there are."""
        self.problems = problems
        more = f" (and {len(problems) - 1} more; `sidebeat check` lists them)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file, if any, lay the environment over it, and check everything.

    Raises:
        ConfigError: missing or unreadable file, broken TOML, unknown key or variable, a value out of bounds, or
            sections that contradict each other.
    """
    return parse(_read(path) if path else {}, environ)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from error


def parse(content: dict[str, Any], environ: Mapping[str, str]) -> Config:
    """Check a config that is already a mapping, with the environment laid over it.

    Raises:
        ConfigError: as ``load``.
    """
    merged, origins = _overlay(content, environ)
    if not merged.get("pools"):
        raise ConfigError(["pools: no backend is configured; give URLs, or a file with [pools.NAME] backends = […]"])
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError([_problem(entry, origins) for entry in error.errors()]) from error


def _overlay(content: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The content with the variables in place, and which variable each key path came from."""
    merged = json.loads(json.dumps(content, default=str))
    origins: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        *parents, last = variable.removeprefix(PREFIX).lower().split("__")
        if (parents or [last])[0] not in Config.model_fields:
            known = ", ".join(f"{PREFIX}{name.upper()}__…" for name in Config.model_fields)
            raise ConfigError([f"{variable}: no such setting; variables are {known}"])
        table = merged
        for depth, parent in enumerate(parents):
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError([f"{variable}: {'.'.join(parents[: depth + 1])} is not a table"])
        table[last] = _value(text)
        origins[".".join([*parents, last])] = variable
    return merged, origins


def _value(text: str) -> object:
    """A variable's text: JSON where it is a list or a table, else left to the field's type."""
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _problem(entry: ErrorDetails, origins: Mapping[str, str]) -> str:
    """One pydantic error as ``path.to.key: what is wrong``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"]).lstrip(".")
    message = entry["msg"].removeprefix("Value error, ")
    message = "no such key" if entry["type"] == "extra_forbidden" else message[:1].lower() + message[1:]
    if entry["type"] not in ("extra_forbidden", "value_error", "missing"):
        message += f", not {_shown(entry['input'])}"
    sources = (name for key, name in origins.items() if path == key or path.startswith((f"{key}.", f"{key}[")))
    source = "".join(f" (from {name})" for name in list(sources)[:1])
    return f"{path}: {message}{source}" if path else message + source


def _shown(value: object) -> str:
    """The value a person wrote, short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
