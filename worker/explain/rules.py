"""What goes for a request once it is under way: where it belongs, when it is made again, how long anybody waits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from sidecar.contract.config import Pool as PoolConfig
from worker.affinity import Wish
from worker.pool import Pool
from worker.recount import Timed
from worker.retry import IDEMPOTENT
from worker.survey import ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """What the request is told apart by. ``kind`` is "cookie", "hash" or "none"; ``backend`` is empty for no one's."""

    kind: str
    backend: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When the request would be made again, in words, and the pool's deadlines in seconds under their names.

    ``hedge_after_ms`` is None where no second backend is asked beside the first.
    """

    retry: tuple[str, ...]
    timeouts: Mapping[str, float]
    hedge_after_ms: float | None


def affinity_of(pool: Pool, config: PoolConfig, wish: Wish | None, now: float) -> Affinity:
    """Whether the request belongs to a backend."""
    if wish is None:
        return Affinity(kind="none", backend="", outcome="all requests of this pool are alike")
    if config.sticky is not None:
        return _by_cookie(pool, config.sticky.cookie, wish, now)
    hash_on = config.balancing.hash_on
    if wish.key:
        return Affinity(kind="hash", backend="", outcome=f"all with the same {hash_on} meet at one backend")
    return Affinity(kind="hash", backend="", outcome=f"it has no {hash_on}, so it goes where there is least to do")


def _by_cookie(pool: Pool, cookie: str, wish: Wish, now: float) -> Affinity:
    names = {row: backend_id for backend_id, row in pool.seats.rows.items()}
    if wish.row < 0:
        return Affinity(kind="cookie", backend="", outcome=f"no cookie {cookie} of ours: the answer will set one")
    name, wished = names[wish.row], pool.wished(wish, (), now)
    if wished is None:
        return Affinity(kind="cookie", backend=name, outcome="it is not eligible: another one's cookie will follow")
    if not pool.may_begin(wished.row, now):
        return Affinity(kind="cookie", backend=name, outcome="it is full: another one's cookie will follow")
    return Affinity(kind="cookie", backend=name, outcome="it stays there")


def rules_of(exchange: Timed, config: PoolConfig, method: str, now: float, *, hedges: bool) -> Rules:
    """Those of its pool, as far as they go for this request."""
    hedge_after_s = exchange.pool.allowance.hedge_after_s(now) if hedges else float("inf")
    return Rules(
        retry=tuple(_retries(exchange, config, method)),
        timeouts=config.timeouts.model_dump(),
        hedge_after_ms=ms(hedge_after_s) if isfinite(hedge_after_s) else None,
    )


def _retries(exchange: Timed, config: PoolConfig, method: str) -> Iterator[str]:
    retry = config.retry
    if "connect_failure" in retry.retry_on and retry.connect_retries:
        yield f"connect_failure: {_up_to(retry.connect_retries)}, since nothing was sent"
    later = ", ".join(each for each in retry.retry_on if each != "connect_failure")
    if later and retry.num_retries:
        if exchange.is_repeatable:
            why = f"{method} may be made again" if method.encode() in IDEMPOTENT else "it has an Idempotency-Key"
            body = f", with a body of up to {retry.replay_buffer_bytes} bytes"
            yield f"{later}: {_up_to(retry.num_retries)}, since {why}{body}"
        else:
            yield f"{later}: never, since {method} may do something, and it has no Idempotency-Key"
    if retry.per_try_timeout_s:
        yield f"one attempt waits {retry.per_try_timeout_s:g} s for a head"
    share, floor = f"{retry.budget_ratio:.0%}", f"{retry.min_retries_per_s:g}"
    yield f"all of it within the budget: {share} of the requests of this host's last 10 s, and {floor} a second"


def _up_to(count: int) -> str:
    return "once" if count == 1 else f"up to {count} times"
