"""The private store that `up` starts when it is given none, and the run directory it lives in."""

from sidecar.store.claim import Claim, ClaimedError
from sidecar.store.embedded import EmbeddedStore, StoreError
from sidecar.store.engine import Engine, Kind, find_engine

__all__ = ["Claim", "ClaimedError", "EmbeddedStore", "Engine", "Kind", "StoreError", "find_engine"]
