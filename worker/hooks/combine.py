"""Our hooks beside those that a conf file has already."""

from collections.abc import Callable
from typing import Any

from worker.hooks import sharing

OfServer = Callable[[Any], object]
OfWorker = Callable[[Any, Any], object]


def combined(
    *,
    on_starting: OfServer | None = None,
    pre_fork: OfWorker | None = None,
    post_fork: OfWorker | None = None,
    child_exit: OfWorker | None = None,
) -> dict[str, Callable[..., None]]:
    """Settings of all four, ours first; each goes on with yours where it is given."""

    def starting(server: object) -> None:
        sharing.on_starting(server)
        if on_starting is not None:
            on_starting(server)

    return {
        "on_starting": starting,
        "pre_fork": _both(sharing.pre_fork, pre_fork),
        "post_fork": _both(sharing.post_fork, post_fork),
        "child_exit": _both(sharing.child_exit, child_exit),
    }


def _both(ours: OfWorker, yours: OfWorker | None) -> Callable[..., None]:
    def both(server: object, worker: object) -> None:  # gunicorn counts the parameters
        ours(server, worker)
        if yours is not None:
            yours(server, worker)

    return both
