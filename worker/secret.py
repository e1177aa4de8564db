"""What signs sticky cookies where the config names no secret: one of this host's own, kept in the run directory.

Made by whoever comes first, then the same for every worker of this namespace, and after a restart; other hosts have
another, which is why a fleet is given one in the config. Mode 0600.
"""

from collections.abc import Mapping

from sidecar.contract.config import Config, ConfigError, Pool
from sidecar.contract.rundir import make_run_directory
from sidecar.contract.secret import kept_secret

FILE = "sticky.secret"


def with_secrets(config: Config, environ: Mapping[str, str]) -> Config:
    """The config with a secret in each sticky pool; itself where nothing is missing.

    A master calls it before it forks: workers of different age would not agree if the file were lost in between.

    Raises:
        ConfigError: one is missing and cannot be kept.
    """
    missing = [name for name, pool in config.pools.items() if pool.sticky is not None and pool.sticky.secret is None]
    if not missing:
        return config
    try:
        secret = kept_secret(make_run_directory(config.store.namespace, environ) / FILE)
    except OSError as error:
        raise ConfigError([f"pools.{missing[0]}.sticky.secret is missing, and none can be kept: {error}"]) from error
    pools = {name: _with_secret(pool, secret) if name in missing else pool for name, pool in config.pools.items()}
    return config.model_copy(update={"pools": pools})


def _with_secret(pool: Pool, secret: str) -> Pool:
    assert pool.sticky is not None  # noqa: S101 - the caller looked
    return pool.model_copy(update={"sticky": pool.sticky.model_copy(update={"secret": secret})})
