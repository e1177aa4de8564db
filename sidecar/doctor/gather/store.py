"""What the store says of itself: INFO, CONFIG and ACL where it lets us, and its time."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Address
from sidecar.contract.whereabouts import without_password
from sidecar.doctor.facts import StoreFacts
from sidecar.status import store_at


async def store_facts(url: str) -> StoreFacts:
    """What there is to know of it.

    Raises:
        UnreadableError: it does not answer.
    """
    parts = urlsplit(url)
    async with store_at(url) as store:
        skew_s = await _skew_s(store)
        info: Any = await _allowed(store, "INFO") or {}
        user = await _allowed(store, "ACL", "WHOAMI")
        rules = await _allowed(store, "ACL", "LIST") if user == "default" else None
        return StoreFacts(
            shown=without_password(url),
            is_local=parts.scheme == "unix" or Address(tls=False, host=parts.hostname or "localhost").is_local,
            is_encrypted=parts.scheme == "rediss",
            is_open=await _lets_in_anybody(url),
            skew_s=skew_s,
            user=user,
            rules=_rules_of(user, rules),
            role=_text(info, "role"),
            policy=_text(info, "maxmemory_policy"),
            max_bytes=_number(info, "maxmemory"),
            used_bytes=_number(info, "used_memory"),
        )


async def store_id(store: Redis, keys: PoolKeys) -> str:
    """The life of the store that a pool's heartbeat names; empty where there is none."""
    found: Any = await store.hget(keys.beat, "store_id")
    return found or ""


async def _skew_s(store: Redis) -> float:
    """How far its clock is ahead, by the middle of the question."""
    before = datetime.now(UTC).timestamp()
    seconds, microseconds = await store.time()
    after = datetime.now(UTC).timestamp()
    return float(seconds) + float(microseconds) / 1e6 - (before + after) / 2


async def _allowed(store: Redis, *command: str) -> Any:  # noqa: ANN401 - as redis-py says it
    """The reply, None where we may not ask."""
    try:
        return await store.execute_command(*command)  # type: ignore[no-untyped-call]
    except ResponseError:
        return None


async def _lets_in_anybody(url: str) -> bool:
    """Whether it answers without a password."""
    parts = urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    client = connect(plain.geturl())
    try:
        await client.ping()
    except RedisError:  # redis-py wraps the refusal
        return False
    else:
        return True
    finally:
        await client.aclose()


def _rules_of(user: object, rules: object) -> str | None:
    lines = rules if isinstance(rules, list) else []
    return next((line for line in lines if str(line).startswith(f"user {user} ")), None)


def _text(reply: object, name: str) -> str | None:
    value = reply.get(name) if isinstance(reply, dict) else None
    return None if value is None else str(value)


def _number(reply: object, name: str) -> int | None:
    text = _text(reply, name) or ""
    return int(text) if text.isdecimal() else None
