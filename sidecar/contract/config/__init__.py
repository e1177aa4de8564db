"""The config file as typed, bounded settings; read once by each program and passed down as values."""

from sidecar.contract.config.health_check import HealthCheck
from sidecar.contract.config.listen import Listen, Socket, Store, parse_socket
from sidecar.contract.config.load import ConfigError, load, parse
from sidecar.contract.config.pools import BackendTable, Connections, Pool, Timeouts, UpstreamTLS
from sidecar.contract.config.sections import Config, Route

__all__ = [
    "BackendTable",
    "Config",
    "ConfigError",
    "Connections",
    "HealthCheck",
    "Listen",
    "Pool",
    "Route",
    "Socket",
    "Store",
    "Timeouts",
    "UpstreamTLS",
    "load",
    "parse",
    "parse_socket",
]
