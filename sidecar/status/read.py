"""From the keys of a namespace to a ``Status``. Reads only; whatever stands in the store, it is no traceback."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.admin import in_words, intents_of
from sidecar.contract.codec import ContractError, decode_view, reading_from_hash, report_from_hash
from sidecar.contract.connect import connect, is_wrong_type, plainly
from sidecar.contract.keys import PoolKeys, pools_index
from sidecar.contract.model import Intent, Report, Verdict, View
from sidecar.contract.whereabouts import without_password
from sidecar.status.figures import number_of, whole_of
from sidecar.status.limits import limits_of, quota_key
from sidecar.status.records import (
    BackendStatus,
    LimitStatus,
    PoolStatus,
    Status,
    UnreadableError,
    WorkerStatus,
    is_silent,
)

PATIENCE_S = 3.0
"""A person waits; a store that is alive answers within a millisecond."""
ATTEMPTS = 3
"""How often a pool is read anew because something was published meanwhile."""
HEAD_BYTES = 64
"""Of a view: they hold its epoch."""
MEASURED = frozenset(("inflight", "rps", "error_ratio", "share", "p50_ms", "p99_ms"))
"""Fields of a backend's hash that the monitor writes anew with each heartbeat."""
POOL_NAME = re.compile(r"[a-z0-9_-]{1,64}(@[A-Za-z0-9._:-]{1,128})?")

Fields = Mapping[str, str]


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[Redis]:
    """A connection for one look, which is over after 3 s.

    Raises:
        UnreadableError: the URL cannot be read, nobody answers, or we may not look.
    """
    shown = without_password(url)
    try:
        client = connect(url)
    except ValueError as error:
        raise UnreadableError(f"{shown}: {plainly(error)}") from error
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield client
    except TimeoutError as error:
        raise UnreadableError(f"{shown} does not answer within {PATIENCE_S:g} s") from error
    except (RedisError, OSError) as error:
        raise UnreadableError(f"{shown} cannot be read: {plainly(error)}") from error
    finally:
        await client.aclose()


async def read_status(url: str, namespace: str, pools: Iterable[str] = ()) -> Status:
    """The state of a namespace: its published pools, and those of ``pools`` (names in keys) that are not yet.

    Raises:
        UnreadableError: as ``store_at``.
    """
    async with store_at(url) as store:
        [now] = await replies_to(store, ("TIME",))
        now_ms = int(now[0]) * 1_000 + int(now[1]) // 1_000
        names = await pool_names(store, namespace, pools)
        found = {name: await _pool(store, PoolKeys(namespace, name), now_ms) for name in names}
    return Status(namespace=namespace, now_ms=now_ms, pools=found)


async def pool_names(store: Redis, namespace: str, known: Iterable[str] = ()) -> list[str]:
    """The pools that were ever published, by name in keys, after those that are ``known`` anyway; each once.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    [index] = await replies_to(store, ("SMEMBERS", pools_index(namespace)))
    published = sorted(name for name in index or () if POOL_NAME.fullmatch(name))
    return list(dict.fromkeys([*known, *published]))


async def backend_ids(store: Redis, keys: PoolKeys) -> list[str]:
    """The backends in a pool's view; none where there is none that can be read.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    [raw] = await replies_to(store, ("GET", keys.view))
    return list(_view(raw)[0].backends)


async def known_backends(url: str, namespace: str) -> dict[str, list[str]]:
    """The backends of every published pool, by the pool's name in keys.

    Raises:
        UnreadableError: as ``store_at``.
    """
    async with store_at(url) as store:
        names = await pool_names(store, namespace)
        return {name: await backend_ids(store, PoolKeys(namespace, name)) for name in names}


async def read_reports(store: Redis, keys: PoolKeys) -> list[Report]:
    """What the workers of a pool report, counters and all.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    [members] = await replies_to(store, ("ZRANGE", keys.workers, "0", "-1"))
    hashes = await replies_to(store, *(("HGETALL", keys.worker(member)) for member in members or ()))
    return _reports(map(_fields, hashes))


async def replies_to(store: Redis, *commands: Sequence[str]) -> list[Any]:
    """The replies, in one round trip; None for a key that holds something of another type.

    Raises:
        RedisError, OSError: the store does not answer, or refuses a command for another reason.
    """
    pipeline = store.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies = await pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception) and not is_wrong_type(reply):
            raise reply
    return [None if isinstance(reply, Exception) else reply for reply in replies]


async def _keys(store: Redis, keys: PoolKeys) -> tuple[list[Any], list[Fields]]:
    """A pool's own keys, then the hashes of the backends in its view and of its workers: all of one publication.

    Or a worker that has not heard of what was just published would be measured by the view of before.
    """
    attempts = 0
    while True:
        attempts += 1
        own = await replies_to(
            store,
            ("GET", keys.view),
            ("HGETALL", keys.beat),
            ("HGETALL", keys.leader),
            ("ZRANGE", keys.workers, "0", "-1"),
            ("HGETALL", keys.admin),
        )
        names = [keys.backend(name) for name in _view(own[0])[0].backends] + [*map(keys.worker, own[3] or ())]
        asked = [("HGETALL", name) for name in names]
        *hashes, head = await replies_to(store, *asked, ("GETRANGE", keys.view, "0", f"{HEAD_BYTES - 1}"))
        if attempts == ATTEMPTS or (head or "") == (own[0] or "")[:HEAD_BYTES]:
            return own, [_fields(reply) for reply in hashes]


async def _pool(store: Redis, keys: PoolKeys, now_ms: int) -> PoolStatus:
    (raw_view, beat, leader, _, admin), replies = await _keys(store, keys)
    view, problem = _view(raw_view)
    ids = list(view.backends)
    reports = _reports(replies[len(ids) :], in_brief=True)
    limits = await _limits(store, keys, ids, now_ms)
    intents, _ = intents_of(_fields(admin))
    beat = _fields(beat)
    told_ms = whole_of(beat.get("redis_ms"))
    age_ms = None if told_ms is None else max(0, now_ms - told_ms)
    verdicts = {name: _as_of(verdict, max(0, now_ms - view.epoch)) for name, verdict in view.backends.items()}
    figures = [_heard(fields, age_ms) for fields in replies[: len(ids)]]
    return PoolStatus(
        epoch=view.epoch or None,
        age_ms=age_ms,
        store_id=beat.get("store_id") or view.store_id or None,
        leader=_fields(leader).get("owner") or None,
        config_hash=view.config_hash or None,
        problem=problem,
        suspect=view.suspect or None,
        backends={
            name: _backend(verdicts[name], fields, reports, intents.get(name, Intent()), limits[name])
            for name, fields in zip(ids, figures, strict=True)
        },
        workers=[_worker(report, now_ms) for report in reports],
    )


async def _limits(store: Redis, keys: PoolKeys, ids: Sequence[str], now_ms: int) -> dict[str, LimitStatus | None]:
    """What is leased of each backend; None for one without limits."""
    shares = [_fields(reply) for reply in await replies_to(store, *(("HGETALL", keys.share(name)) for name in ids))]
    if not any(shares):
        return dict.fromkeys(ids)
    found = {name: quota_key(keys, name, share, now_ms) for name, share in zip(ids, shares, strict=True)}
    asked = {name: key for name, key in found.items() if key}
    leased = dict(zip(asked, await replies_to(store, *(("GET", key) for key in asked.values())), strict=True))
    return {name: limits_of(share, leased.get(name), now_ms) for name, share in zip(ids, shares, strict=True)}


def _view(raw: str | None) -> tuple[View, str | None]:
    """The view, and what is wrong with it."""
    if raw is None:
        return View(), "no monitor has published it yet"
    try:
        return decode_view(raw), None
    except ContractError as error:
        return View(), str(error)


def _fields(reply: object) -> Fields:
    """The fields of a hash; none where there is no hash."""
    return reply if isinstance(reply, dict) else {}


def _as_of(verdict: Verdict, age_ms: int) -> Verdict:
    """The verdict with the times that are left of it so long after it was published, as the workers count them."""
    return replace(verdict, ejected_ms=max(0, verdict.ejected_ms - age_ms), ramp_ms=max(0, verdict.ramp_ms - age_ms))


def _heard(fields: Fields, age_ms: int | None) -> Fields:
    """What the monitor makes of a backend's traffic; a silent one's last figures are not those of now."""
    return {name: "" if name in MEASURED and is_silent(age_ms) else text for name, text in fields.items()}


def _reports(hashes: Iterable[Fields], *, in_brief: bool = False) -> list[Report]:
    """The reports that can be read; a worker whose key expired is gone."""
    reports = []
    for fields in hashes:
        try:
            reports.append(report_from_hash(fields, in_brief=in_brief))
        except ContractError:
            continue
    return sorted(reports, key=lambda report: (report.host, report.instance, report.slot))


def _backend(
    verdict: Verdict, fields: Fields, reports: Sequence[Report], intent: Intent, limits: LimitStatus | None
) -> BackendStatus:
    reading = reading_from_hash(fields)
    asked = whole_of(fields.get("asked")) or None
    is_pending = intent.since_ms > (asked or 0)
    counted = [report.tallies[verdict.id].inflight for report in reports if verdict.id in report.tallies]
    return BackendStatus(
        url=verdict.url,
        state=verdict.state,
        reason=verdict.reason,
        since=verdict.since_ms or None,
        admin=verdict.admin,
        weight=verdict.weight,
        probe_ms=reading.probe_ms,
        ttfb_ms=reading.ttfb_ms,
        ok_streak=reading.ok_streak,
        fail_streak=reading.fail_streak,
        ejected_ms=verdict.ejected_ms,
        ramp_ms=verdict.ramp_ms,
        inflight=sum(counted) if counted else whole_of(fields.get("inflight")),
        rps=number_of(fields.get("rps")),
        error_ratio=number_of(fields.get("error_ratio")),
        asked=asked,
        asked_by=None if is_pending else intent.by or None,
        pending=in_words(intent) if is_pending else None,
        ejected_on=_ejecting(verdict.id, reports),
        limits=limits,
        share=number_of(fields.get("share")),
        p50_ms=number_of(fields.get("p50_ms")),
        p99_ms=number_of(fields.get("p99_ms")),
    )


def _ejecting(name: str, reports: Sequence[Report]) -> tuple[str, ...]:
    """The instances that eject a backend; the workers of one share its board, and say the same."""
    return tuple(
        sorted(
            {
                f"{report.host}:{report.instance}"
                for report in reports
                if (tally := report.tallies.get(name)) is not None and tally.ejected_ms
            }
        )
    )


def _worker(report: Report, now_ms: int) -> WorkerStatus:
    return WorkerStatus(
        host=report.host,
        instance=report.instance,
        slot=report.slot,
        pid=report.pid,
        incarnation=report.incarnation,
        applied_epoch=report.applied_epoch,
        view_age_ms=report.view_age_ms,
        draining=report.draining,
        age_ms=max(0, now_ms - report.heartbeat_ms),
        under_way=report.under_way,
    )
