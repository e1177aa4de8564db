"""A pool's intents on disk, in the run directory, for the day on which the store comes back empty.

One file for each pool and store; written whole under another name and then renamed, readable by the user alone.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.contract.codec import ContractError, intent_of, intent_text
from sidecar.contract.events import Event, line
from sidecar.contract.model import Intent
from sidecar.contract.rundir import make_run_directory
from sidecar.contract.whereabouts import without_password

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Intents, and the life of the store (``store_id``) in which they were read; empty: in none."""

    store_id: str = ""
    intents: Mapping[str, Intent] = field(default_factory=dict)


class SavedIntents:
    """The copy of one pool. What goes wrong with it is logged when it begins, and is no reason to stop."""

    def __init__(self, directory: Path | None, pool: str, url: str) -> None:
        """``directory`` None: nothing is kept. ``url`` is the store's: another store's intents are none of ours."""
        digest = hashlib.sha256(f"{pool} {without_password(url)}".encode()).hexdigest()[:8]
        self._path = None if directory is None else directory / f"intents.{pool}.{digest}.json"
        self._pool = pool
        self._is_broken = False

    def load(self) -> Saved:
        """What was saved; nothing where there is no copy, or none that can be read."""
        if self._path is None:
            return Saved()
        try:
            content: dict[str, Any] = json.loads(self._path.read_bytes())
            intents = {name: intent_of(json.dumps(fields)) for name, fields in content["intents"].items()}
            return Saved(store_id=str(content["store_id"]), intents=intents)
        except FileNotFoundError:
            return Saved()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ContractError) as error:
            self._tell(error)
            return Saved()

    def save(self, saved: Saved) -> None:
        """Replace the copy."""
        if self._path is None:
            return
        intents = {name: json.loads(intent_text(intent)) for name, intent in saved.intents.items()}
        text = json.dumps({"store_id": saved.store_id, "intents": intents}, indent=1)
        fresh = self._path.with_suffix(f".{os.getpid()}")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            fresh.replace(self._path)
        except OSError as error:
            self._tell(error)
        else:
            self._is_broken = False

    def _tell(self, error: Exception) -> None:
        if not self._is_broken:
            self._is_broken = True
            log.warning(line(Event.INTENT, pool=self._pool, copy=self._path, error=f"{type(error).__name__}: {error}"))


def copy_directory(namespace: str, environ: Mapping[str, str]) -> Path | None:
    """The run directory, made if need be; None, which is logged, where there can be none."""
    try:
        return make_run_directory(namespace, environ)
    except OSError as error:
        log.warning(line(Event.INTENT, copy="none", error=str(error)))
        return None
