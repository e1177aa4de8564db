"""Whose row is whose: pools come and go, and workers learn of it at different moments.

A row belongs to a key: the pool, the backend's id, and what makes it another backend under the same id. So an old
generation and a new one each have a row of their own while some workers have moved on and others have not yet. A row is
given to another key only when no worker holds it any more and nothing is under way to it, and only when there is no
fresh one left: until then, a backend that comes back finds what was counted of it, and what was decided.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Final

from sidecar.contract.config import Pool
from worker.board import layout
from worker.board.cells import Cells
from worker.board.layout import COUNTER_WORDS, HOST_WORDS, KEY_WORDS, Layout

TRIES: Final = 250
TRY_S: Final = 0.001
"""How often the lock is tried, and how long after the last time: a thousand backends take 1.5 ms under it (measured
2026-11). A holder that was stopped keeps it for longer, and a worker that makes its pools must not wait for that."""

Key = tuple[int, int]


def key_of(pool: str, backend: str, generation: str) -> Key:
    """The key of a backend: a digest, since names have no fixed length. Never that of a free row."""
    told = "\0".join((pool, backend, generation)).encode()
    digest = hashlib.blake2b(told, digest_size=16).digest()
    return int.from_bytes(digest[:8]) | 1, int.from_bytes(digest[8:])


def keys_of(pool: str, config: Pool) -> list[Key]:
    """The keys of a pool's backends, in the order of the file; at another URL or with other TLS, one is another."""
    tls = config.tls.model_dump_json()
    return [key_of(pool, backend.id, f"{backend.url} {tls}") for backend in config.members]


class Directory:
    """The rows of one board by their keys. Who changes anything but their own slot's cells holds its lock."""

    __slots__ = ("_cells", "_layout", "_lock", "_words")

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._layout = Layout(cells.rows, cells.slots)
        self._words = cells.memory.words
        self._lock = cells.rows  # the locks past that are the pools', see ``passive``

    def reserve(self, keys: Sequence[Key]) -> list[int] | None:
        """A row for each key, all or none: the one it has had before, else a fresh one. None where they do not all fit.

        Nobody holds them yet: they go to others before these go without.
        """
        return self._seat(keys, None)

    def hold(self, keys: Sequence[Key], slot: int | None) -> list[int] | None:
        """The same, or where no row is fresh one that is free; from now on the slot holds them. None: a worker without.

        What a worker without a slot holds stays held until the last of them is gone: it has no cells to say so in.
        """
        return self._seat(keys, self._cells.slots if slot is None else slot)

    def let_go(self, row: int, slot: int | None) -> None:
        """The slot's worker has no more use for a row, but for what is still under way to it."""
        if slot is not None:
            self._words[self._layout.held(row, slot)] = 0

    def forget(self, slot: int | None) -> None:
        """Let go of all that a slot held whose worker is gone; None: of what workers without a slot held."""
        place = self._cells.slots if slot is None else slot
        for row in range(self._words[layout.ROWS]):
            self._words[self._layout.held(row, place)] = 0

    def holders(self, row: int) -> list[int]:
        """The slots whose workers have a pool with this row."""
        held = self._layout.held(row, 0)
        return [slot for slot, holds in enumerate(self._words[held : held + self._cells.slots]) if holds]

    def is_news(self, keys: Sequence[Key]) -> bool:
        """True for the first worker to say that these do not fit; two pools in 64 are taken for one."""
        told = 1 << hash(tuple(keys)) % 64
        is_news = not self._words[layout.TOLD] & told
        self._words[layout.TOLD] |= told
        return is_news

    def _seat(self, keys: Sequence[Key], place: int | None) -> list[int] | None:
        for turn in range(TRIES):
            if turn:
                time.sleep(TRY_S)
            with self._cells.memory.lock(self._lock) as had:
                if had:
                    rows = self._rows(keys, reclaim=place is not None)
                    if rows is not None and place is not None:
                        self._mark(rows, place)
                    return rows
        return None

    def _mark(self, rows: Sequence[int], place: int) -> None:
        for row in rows:
            self._words[self._layout.held(row, place)] = 1

    def _rows(self, keys: Sequence[Key], *, reclaim: bool) -> list[int] | None:
        """Their rows, those that had none given one; decided for all before anything is written."""
        used = self._words[layout.ROWS]
        known = {key: row for row, key in enumerate(self._keys(used)) if key[0]}
        new = [key for key in keys if key not in known]
        given = list(range(used, min(used + len(new), self._cells.rows)))
        if reclaim and len(given) < len(new):
            kept = {known[key] for key in keys if key in known}
            free = (row for row in range(used) if row not in kept and self._is_free(row))
            given += [row for row, _ in zip(free, range(len(new) - len(given)), strict=False)]
        if len(given) < len(new):
            return None
        for key, row in zip(new, given, strict=True):
            self._give(row, key, used)
            known[key] = row
        return [known[key] for key in keys]

    def _keys(self, used: int) -> list[Key]:
        """Those of the first rows, read in one piece: one by one a thousand of them take 2 ms (measured 2026-11)."""
        first = self._layout.key(0)
        words = self._words[first : first + used * KEY_WORDS].tolist()
        return list(zip(words[::KEY_WORDS], words[1::KEY_WORDS], strict=True))

    def _is_free(self, row: int) -> bool:
        """Whether nobody holds a row, and nothing is under way to it in any slot, whoever has that now."""
        slots = self._cells.slots
        held, under_way = self._layout.held(row, 0), self._layout.in_flight(row, 0)
        return not any(self._words[held : held + slots + 1]) and not any(self._words[under_way : under_way + slots])

    def _give(self, row: int, key: Key, used: int) -> None:
        """Write a key over a row; one that had another before is made as fresh as memory that was never touched.

        Whoever is killed in the middle leaves a row that is nobody's.
        """
        words, cell = self._words, self._layout.key(row)
        if row < used:
            words[cell] = 0
            for slot in range(words[layout.HIGH_WATER]):
                self._clear(self._layout.counter(row, slot), COUNTER_WORDS)
            self._clear(self._layout.host_row(row), HOST_WORDS)
        else:
            words[layout.ROWS] = row + 1
        words[cell + 1], words[cell] = key[1], key[0]

    def _clear(self, first: int, count: int) -> None:
        self._words[first : first + count] = memoryview(bytes(8 * count)).cast("Q")
