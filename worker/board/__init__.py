"""The board: what the workers of one gunicorn master know together, at the speed of memory.

Made in the master before it forks; every worker inherits the mapping. Each slot belongs to one worker at a time and
each of its cells has one writer, so there are no locks: writers add to their own cells, readers sum over the slots that
were ever handed out. What is decided for all of them stands in the host area, which is written under a lock.

A slot's counters are never reset: whoever gets the slot next goes on counting where the dead worker stopped, and so
totals cannot fall, not even for the moment that copying them elsewhere would take. What is true only while a worker
lives (in-flight counts, readiness) is zeroed when it is gone.

Cells are written through ``memoryview.cast`` and in no other way: ``struct.pack_into`` zeroes the bytes first, and a
reader in another process sees it (8 % of reads in a tight loop, measured 2026-11).
"""

from worker.board.board import Board, board_for, board_slots
from worker.board.cells import SlotState
from worker.board.places import Places, Seats
from worker.board.writer import Writer

__all__ = ["Board", "Places", "Seats", "SlotState", "Writer", "board_for", "board_slots"]
