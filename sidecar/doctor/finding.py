"""What a check found: how bad it is, what was seen, and what mends it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """``fail`` serves nobody, or is open to anybody; ``warn`` will, or may be."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding of one check; ``fix`` is empty where nothing is to be mended."""

    level: Level
    check: str
    seen: str
    fix: str = ""

    def as_json(self) -> dict[str, object]:
        """One of `sidebeat doctor --json`: a stable contract, so fields are added and never renamed."""
        return asdict(self)


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(level=Level.OK, check=check, seen=seen)


def warn(check: str, seen: str, fix: str) -> Finding:
    """It works, and may not always."""
    return Finding(level=Level.WARN, check=check, seen=seen, fix=fix)


def fail(check: str, seen: str, fix: str) -> Finding:
    """It does not work, or nobody should wish it to."""
    return Finding(level=Level.FAIL, check=check, seen=seen, fix=fix)


def or_else(found: Iterable[Finding], fine: Finding) -> Iterator[Finding]:
    """What was found; where that is nothing, that all is well."""
    findings = list(found)
    yield from findings or [fine]
