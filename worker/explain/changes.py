"""What a proxy has changed in a head: the one that came, held against the one that goes on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.http1 import RequestHead

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A field of which other lines go on than came; ``before`` or ``after`` is empty where it was added or dropped."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def changes(head: RequestHead, message: bytes) -> tuple[Change, ...]:
    """What is different, by the names of the fields: first what came, in its order, then what was added.

    Args:
        head: as read.
        message: as it is sent, from the request line to the empty line.
    """
    before = _fields_of(head.fields)
    after = _fields_of(message.partition(b"\r\n")[2])
    names = {name.lower(): name for name, _ in (*after, *before)}
    ordered = dict.fromkeys(name.lower() for name, _ in (*before, *after))
    found = (Change(name=names[name], before=_said(before, name), after=_said(after, name)) for name in ordered)
    return tuple(change for change in found if change.before != change.after)


def _fields_of(block: bytes) -> Pairs:
    lines = (line.decode("latin-1").partition(":") for line in block.split(b"\r\n") if line)
    return [(name, value.strip(" \t")) for name, _, value in lines]


def _said(fields: Pairs, name: str) -> tuple[str, ...]:
    return tuple(value for each, value in fields if each.lower() == name)
