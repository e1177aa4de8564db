"""From flags, file and environment to a config; flags win over the environment, which wins over the file.

Flags become ``SIDEBEAT_…`` variables, so that there is one way to say a thing to a child process too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError
from sidecar.contract.config import Config, ConfigError, load, parse
from sidecar.contract.model import parse_address
from sidecar.contract.whereabouts import store_url
from sidecar.running import running_config

FLAGS = {
    "--bind": "SIDEBEAT_LISTEN__BIND",
    "--admin": "SIDEBEAT_LISTEN__ADMIN",
    "--console": "SIDEBEAT_LISTEN__CONSOLE",
    "--workers": "SIDEBEAT_LISTEN__WORKERS",
    "--redis": "SIDEBEAT_STORE__URL",
    "--namespace": "SIDEBEAT_STORE__NAMESPACE",
    "URL": "SIDEBEAT_POOLS__DEFAULT__BACKENDS",
}
NO_POOL_NEEDED = {"pools": {"any": {"backends": ["unix:/any"]}}}
"""Stands in for the pools where a command only looks at the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A running system to look at: its store, its namespace, and as far as a file tells its pools, by name in keys.

    ``members`` has the ids of each pool's backends.
    """

    url: str
    namespace: str
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the pools that a file tells of."""
        return tuple(self.members)


def with_flags(environ: Mapping[str, str], flags: Mapping[str, str | int | None]) -> dict[str, str]:
    """The environment with what flags say in place; None is a flag that was not given."""
    return {**environ, **{FLAGS[flag]: str(value) for flag, value in flags.items() if value is not None}}


def backends_flag(urls: Sequence[str]) -> str | None:
    """The URLs of the pool ``default`` as their variable holds them; None without any.

    Raises:
        TroubleError: one of them is not the URL of a backend, or stands twice.
    """
    for url in urls:
        try:
            parse_address(url)
        except ValueError as error:
            raise TroubleError(WRONG_USE, str(error)) from error
    return json.dumps(list(urls)) if urls else None


def read_config(file: Path | None, environ: Mapping[str, str], given: Sequence[str] = ()) -> Config:
    """The checked config.

    Args:
        given: the flags that were given, so that a problem names the flag and not its variable.

    Raises:
        TroubleError: with the first problem, and how many more there are.
    """
    try:
        config = load(file, environ)
        _check_store(config)
    except ConfigError as error:
        raise TroubleError(WRONG_USE, _in_flags(str(error), given)) from error
    return config


def all_problems(file: Path | None, environ: Mapping[str, str]) -> tuple[Config | None, list[str]]:
    """The config, or everything that is wrong with it."""
    try:
        config = load(file, environ)
        _check_store(config)
    except ConfigError as error:
        return None, error.problems
    return config, []


def look_at(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]) -> Place:
    """Where to look: the store of flags, environment or file, else of the run directory, else of what runs here.

    Raises:
        TroubleError: the config is wrong, or no store is to be found.
    """
    environ = with_flags(environ, flags)
    config, knows_pools = _config_at(file, environ, flags)
    try:
        url = store_url(config, environ)
    except ConfigError as error:
        if knows_pools or (running := _running(config.store.namespace, environ)) is None:
            raise TroubleError(FAILED, f"{error}, -c FILE or --redis URL names another") from error
        config, knows_pools, url = running, True, str(running.store.url)
    pools = config.pools.items() if knows_pools else ()
    members = {config.key_name(name): tuple(backend.id for backend in pool.members) for name, pool in pools}
    return Place(url=url, namespace=config.store.namespace, members=members)


def _running(namespace: str, environ: Mapping[str, str]) -> Config | None:
    """What the workers or the monitor on this machine were started with; None where it names no store."""
    running = running_config(namespace, environ)
    return running if running and running.store.url else None


def namespace_of(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]) -> str:
    """Which system is meant, for a command that finds it on this machine without its store.

    Raises:
        TroubleError: the config is wrong.
    """
    config, _ = _config_at(file, with_flags(environ, flags), flags)
    return config.store.namespace


def _config_at(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]) -> tuple[Config, bool]:
    """The config, and whether it tells of pools, or only of where to look."""
    given = [flag for flag, value in flags.items() if value is not None]
    knows_pools = file is not None or any(name.startswith("SIDEBEAT_POOLS") for name in environ)
    return read_config(file, environ, given) if knows_pools else _without_pools(environ, given), knows_pools


def require_store(config: Config, environ: Mapping[str, str], status: int) -> str:
    """The URL of a store that is configured, or that runs in the run directory.

    Raises:
        TroubleError: there is none; with this exit status.
    """
    try:
        return store_url(config, environ)
    except ConfigError as error:
        raise TroubleError(status, str(error)) from error


def _without_pools(environ: Mapping[str, str], given: Sequence[str]) -> Config:
    try:
        config = parse(NO_POOL_NEEDED, environ)
        _check_store(config)
    except ConfigError as error:
        raise TroubleError(WRONG_USE, _in_flags(str(error), given)) from error
    return config


def _check_store(config: Config) -> None:
    """Refuse a URL that no client can be made of, before anything waits for it."""
    if config.store.url:
        from sidecar.contract.connect import connect  # 0.15 s (measured), for a config without a store in vain

        try:
            _ = connect(config.store.url)
        except ValueError as error:
            raise ConfigError([f"store.url: {error}"]) from error


def _in_flags(problem: str, given: Sequence[str]) -> str:
    for flag in given:
        problem = problem.replace(f"(from {FLAGS[flag]})", f"(from {flag})")
    return problem
