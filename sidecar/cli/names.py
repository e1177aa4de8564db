"""What a shell offers where a pool or a backend is meant: those of the config file, and those that are published."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

PATIENCE_S = 1.0
"""Who presses Tab waits for nothing longer."""


def complete_backend(ctx: typer.Context, incomplete: str) -> list[str]:
    """Every ``POOL/BACKEND`` that begins so; none where nothing can be found out."""
    return [name for name in _backends(ctx) if name.startswith(incomplete)]


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """The pools that begin so, and their backends."""
    backends = list(_backends(ctx))
    pools = dict.fromkeys(name.partition("/")[0] for name in backends)
    return [name for name in (*pools, *backends) if name.startswith(incomplete)]


def _backends(ctx: typer.Context) -> Iterator[str]:
    for pool, names in _known(ctx.params).items():
        yield from (f"{pool}/{name}" for name in names)


def _known(given: Mapping[str, object]) -> Mapping[str, list[str]]:
    """The ids of each pool's backends, as far as file and store tell."""
    import asyncio

    from redis.exceptions import RedisError

    from sidecar.cli.settle import look_at
    from sidecar.cli.trouble import TroubleError
    from sidecar.status import UnreadableError, known_backends

    file, redis, namespace = (str(given[name]) if given.get(name) else None for name in ("file", "redis", "namespace"))
    try:
        place = look_at(Path(file) if file else None, os.environ, {"--redis": redis, "--namespace": namespace})
        published = asyncio.run(asyncio.wait_for(known_backends(place.url, place.namespace), PATIENCE_S))
    except (TroubleError, UnreadableError, RedisError, TimeoutError):
        return {}
    names = dict.fromkeys([*place.members, *published])
    return {name: [*dict.fromkeys([*place.members.get(name, ()), *published.get(name, ())])] for name in names}
