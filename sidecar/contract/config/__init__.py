"""The config file as typed, bounded settings; read once by each program and passed down as values."""

from sidecar.contract.config.load import ConfigError, load, parse
from sidecar.contract.config.sections import (
    BackendTable,
    Config,
    HealthCheck,
    Listen,
    Pool,
    Route,
    Socket,
    Store,
    Timeouts,
)

__all__ = [
    "BackendTable",
    "Config",
    "ConfigError",
    "HealthCheck",
    "Listen",
    "Pool",
    "Route",
    "Socket",
    "Store",
    "Timeouts",
    "load",
    "parse",
]
