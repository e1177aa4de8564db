"""Many cases in one test, where to start everything anew for each would prove nothing more.

for what, data in BROKEN.items():
    with case(what):
        assert refuses(data)
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(what: object) -> Iterator[None]:
    """Have a failure say in which case it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {what!r}")
        raise
