"""Another config for a system that runs: what of it would need a restart, and how it is handed on once it is checked.

Who has checked the file hands on the text, so that all who apply it apply the same: the file may have changed again.
"""

import os
import ssl
from pathlib import Path

from sidecar.contract.config.observe import STREAMS, Log
from sidecar.contract.config.pools import UpstreamTLS
from sidecar.contract.config.sections import Config

PINNED = {
    "store": ("url", "namespace", "host"),
    "listen": (
        "bind", "admin", "console", "workers", "max_backends", "app", "drain_delay_s", "drain_timeout_s",
    ),
    "log": ("format",),
    "tracing": ("enabled", "service"),
}  # fmt: skip
"""Whom one is, where one is found, what is shared, and what those rely on who wait for our end."""


def pinned(before: Config, after: Config) -> list[str]:
    """A line for each key that would have to change under a running system; empty where all can be applied."""
    return [
        f"{section}.{key}: cannot change while it runs: end it and start it again"
        for section, keys in PINNED.items()
        for key in keys
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key)
    ]


def to_text(config: Config) -> str:
    """A checked config on one line, secrets and all. What was not set is left out: some of it follows from the rest."""
    return config.model_dump_json(exclude_unset=True)


def from_text(text: str | bytes) -> Config:
    """The config that ``to_text`` was given.

    Raises:
        ValueError: it is not what that writes.
    """
    return Config.model_validate_json(text)


def unusable_files(config: Config) -> list[str]:
    """A line for each pool whose TLS files cannot be used, which it reads, and for a log that cannot be written."""
    tls = [f"pools.{name}.tls: {error}" for name, pool in config.pools.items() if (error := _trouble(pool.tls))]
    return tls + ([f"log.file: {config.log.file}: cannot be written"] if not _can_log(config.log) else [])


def _can_log(log: Log) -> bool:
    """Whether the file may be written, or made where it is not there."""
    path = Path(log.file)
    if log.access == "off" or log.file in STREAMS:
        return True
    return os.access(path if path.exists() else path.parent, os.W_OK) and not path.is_dir()


def _trouble(tls: UpstreamTLS) -> str:
    if tls.ca is None and tls.cert is None:
        return ""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        return error.strerror or str(error)
    return ""
