"""What the operator asks for of a backend, in the store: the hash ``admin``, one field a backend, kept for good.

An intent is written together with its event, by one script. Being ready again is written too and not deleted: only so
can a copy on disk fill a store that lost everything, and never bring back what was taken back since.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from redis.asyncio import Redis

from sidecar.contract.codec import ContractError, intent_of, intent_text
from sidecar.contract.connect import is_wrong_type
from sidecar.contract.keys import EVENTS_LENGTH, PoolKeys
from sidecar.contract.model import MAX_WEIGHT, Admin, Intent

_SCRIPTS = resources.files("sidecar")
_COMMON = _SCRIPTS.joinpath("fence.lua").read_text() + _SCRIPTS.joinpath("intent.lua").read_text()
_ASK = _COMMON + _SCRIPTS.joinpath("admin.lua").read_text()
_RESTORE = _COMMON + _SCRIPTS.joinpath("restore.lua").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a request: what the backend was before and is now, in words; the same where nothing changed.

    ``since_ms`` is when what it is now was asked for (unix ms, Redis' clock).
    """

    before: str
    after: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What lies in the store. ``store_id`` is the store's life as its heartbeat tells it, empty where there is none.

    ``problems`` names what cannot be read; ``is_readable`` is false where that is the whole hash.
    """

    store_id: str
    intents: Mapping[str, Intent] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    is_readable: bool = True


async def ask(redis: Redis, keys: PoolKeys, backend_id: str, wish: Admin | float | None, *, by: str) -> Asked:
    """Ask for a state, or for a weight (None: the configured one); the other of the two stays as it was.

    Raises:
        RedisError, OSError: the store did not answer; whether it heard is then unknown.
    """
    what, value = (
        ("admin", wish.value) if isinstance(wish, Admin) else ("weight", "" if wish is None else f"{wish:.6g}")
    )
    arguments = (backend_id, what, value, by, EVENTS_LENGTH, keys.intents, MAX_WEIGHT)
    reply: list[str] = await redis.eval(_ASK, 3, keys.admin, keys.view, keys.events, *arguments)
    return Asked(before=reply[0], after=reply[1], since_ms=int(reply[2]))


async def read(redis: Redis, keys: PoolKeys) -> Desk:
    """What is asked for, and in which life of the store: both of one moment.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    pipeline = redis.pipeline(transaction=True)
    _ = pipeline.hgetall(keys.admin)  # only queued here
    _ = pipeline.hget(keys.beat, "store_id")
    fields, store_id = await pipeline.execute(raise_on_error=False)
    life = "" if _is_unreadable(store_id) else str(store_id or "")
    if _is_unreadable(fields):
        return Desk(store_id=life, problems={"": "not a hash"}, is_readable=False)
    intents, problems = intents_of(fields)
    return Desk(store_id=life, intents=intents, problems=problems)


async def restore(redis: Redis, keys: PoolKeys, intents: Mapping[str, Intent], *, by: str) -> list[str]:
    """Put back what the store does not have, or holds garbage in place of; the ids of these backends.

    Raises:
        RedisError, OSError: as ``ask``.
    """
    lost = [part for name, intent in intents.items() for part in (name, intent_text(intent), in_words(intent))]
    names = (keys.admin, keys.view, keys.events)
    restored: list[str] = await redis.eval(_RESTORE, 3, *names, by, EVENTS_LENGTH, keys.intents, MAX_WEIGHT, *lost)
    return restored


def in_words(intent: Intent) -> str:
    """An intent as an event tells it."""
    return intent.admin if intent.weight is None else f"{intent.admin}, weight {intent.weight:g}"


def intents_of(fields: Mapping[str, str]) -> tuple[dict[str, Intent], dict[str, str]]:
    """What of the hash ``admin`` can be read, by backend id, and why the rest cannot."""
    intents, problems = {}, {}
    for name, text in fields.items():
        try:
            intents[name] = intent_of(text)
        except ContractError as error:
            problems[name] = str(error)
    return intents, problems


def _is_unreadable(reply: object) -> bool:
    """Whether a key holds something of another type; any other refusal is raised."""
    if isinstance(reply, Exception) and not is_wrong_type(reply):
        raise reply
    return isinstance(reply, Exception)
