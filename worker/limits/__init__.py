"""Limits of a backend that hold over all workers of a fleet: how many requests at a time, and how many in a window.

``pool`` admits to places under the board's lock, so that the workers of a master never use more than it has; who finds
none waits in a ``line``. ``lease`` gets the master its part of the fleet's places and requests from the store, in one
worker and off the request path; what must be decided by one alone is decided in the store, by two scripts.

A worker that is not on the board of its master, because it is past the last slot or its pool past the last row, cannot
be counted by its siblings. It leases for itself, as a master of one worker would, and without a store it gets nothing
but where the rule is ``open``.
"""

from worker.limits.lease import Leaser
from worker.limits.pool import LimitedPool, has_limits

__all__ = ["Leaser", "LimitedPool", "has_limits"]
