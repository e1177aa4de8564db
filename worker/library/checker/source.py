"""Where the view is that a checker follows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from sidecar.contract.config import Store
from sidecar.contract.config.section import Name
from sidecar.contract.keys import PoolKeys
from worker.library.checker.targets import Watched

_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """``keys`` of the pool, ``url`` of the store; ``host`` is this machine's name in reports."""

    keys: PoolKeys
    url: str
    host: str


def source_of(url: str, namespace: str, pool: str, host: str | None, watched: Sequence[Watched]) -> Source:
    """As a config file would have it: a pool of loopback addresses and sockets is this host's own, ``<pool>@<host>``.

    Raises:
        ValueError: one of them is nothing that a config file may say.
    """
    given = {} if host is None else {"host": host}
    store = Store.model_validate({"url": url, "namespace": namespace, **given})
    pool = _NAME.validate_python(pool)
    is_local = host is not None or all(one.backend.address.is_local for one in watched)
    return Source(
        keys=PoolKeys(store.namespace, f"{pool}@{store.host}" if is_local else pool), url=url, host=store.host
    )
