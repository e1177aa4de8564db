"""Where the store is, and how that may be shown: for those, too, who never speak to it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from sidecar.contract.config import Config, ConfigError
from sidecar.contract.rundir import store_address, store_socket


def store_url(config: Config, environ: Mapping[str, str]) -> str:
    """The configured URL, else that of the store which the running `up` uses, from the run directory.

    Raises:
        ConfigError: neither is there; names ``store.url``.
    """
    if config.store.url:
        return config.store.url
    socket = store_socket(config.store.namespace, environ)
    if socket.exists():
        return socket_url(socket)
    with suppress(OSError):
        if told := store_address(config.store.namespace, environ).read_text().strip():
            return told
    raise ConfigError([f"store.url: not set, and no store runs at {socket}; `sidebeat up` starts one"])


def socket_url(path: Path) -> str:
    """The URL of a store on a unix socket."""
    return f"unix://{quote(str(path))}"


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))
