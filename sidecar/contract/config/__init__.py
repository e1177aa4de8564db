"""The config file as typed, bounded settings; read once by each program and passed down as values."""

from sidecar.contract.config.console import Console
from sidecar.contract.config.health_check import HealthCheck
from sidecar.contract.config.listen import Listen, Socket, Store, parse_socket
from sidecar.contract.config.load import ConfigError, load, parse
from sidecar.contract.config.observe import Log, Tracing
from sidecar.contract.config.pools import BackendTable, Connections, Pool, Timeouts, UpstreamTLS
from sidecar.contract.config.sections import Config, Route

__all__ = [
    "BackendTable",
    "Config",
    "ConfigError",
    "Connections",
    "Console",
    "HealthCheck",
    "Listen",
    "Log",
    "Pool",
    "Route",
    "Socket",
    "Store",
    "Timeouts",
    "Tracing",
    "UpstreamTLS",
    "load",
    "parse",
    "parse_socket",
]
