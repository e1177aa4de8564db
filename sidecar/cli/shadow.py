"""`worker` is a name that other projects use too: ours must be the one that our children import."""

from importlib.util import find_spec
from pathlib import Path

import sidecar
from sidecar.cli.trouble import FAILED, TroubleError


def refuse_shadow() -> None:
    """Make sure that ``python -P -m worker`` is our own.

    Raises:
        TroubleError: another one comes first on the import path; names its file.
    """
    ours = Path(sidecar.__file__).parents[1] / "worker"
    found = find_spec("worker")
    if found is None or not found.origin:
        raise TroubleError(FAILED, f"the package `worker` is missing; it should be {ours}")
    if not Path(found.origin).is_relative_to(ours):
        raise TroubleError(
            FAILED, f"{found.origin} is in the way of our package `worker`; take its directory off PYTHONPATH"
        )
