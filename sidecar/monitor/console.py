"""The console while this monitor leads: one that stands by binds nothing, so that one address is one console's.

A store that is away makes nobody a leader. Whoever served then serves on, since that is when people look.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from sidecar.console.setting import Exposition, Setting
from sidecar.console.token import agreed_token
from sidecar.contract.config import Config
from sidecar.contract.connect import plainly
from sidecar.contract.events import Event, line
from sidecar.contract.secret import new_secret
from sidecar.monitor.post import Office
from sidecar.monitor.tenure import Role

if TYPE_CHECKING:
    from sidecar.console.serving import Console

LOOK_S = 0.1
"""How often it is looked who leads."""
RETRY_S = 1.0

log = logging.getLogger(__name__)


def serves(roles: Collection[Role], *, already: bool) -> bool:
    """Whether to have a console: by the role in each pool, and whether there is one ``already``."""
    return Role.LEADS in roles or (already and Role.UNKNOWN in roles)


class Hosting:
    """Opens and closes the console of one monitor."""

    def __init__(
        self,
        office: Office,
        config: Config,
        roles: Callable[[], Collection[Role]],
        token_file: Path | None,
        metrics: Exposition | None = None,
    ) -> None:
        """Prepare.

        Args:
            office: the monitor's.
            config: what to begin with.
            roles: this monitor's in its pools, as they are now.
            token_file: where the token is kept that the config does not say; None: there is no place for it.
            metrics: None: the console has no ``/metrics``.
        """
        self._office = office
        self._config = config
        self._roles = roles
        self._token_file = token_file
        self._metrics = metrics
        self._console: Console | None = None
        self._kept_token = ""
        self._is_changed = False
        self._tried_at = -RETRY_S
        self._trouble = ""

    def change(self, config: Config) -> None:
        """Go on under another config: with its next look."""
        self._config = config
        self._is_changed = True
        self._tried_at = -RETRY_S

    async def run(self) -> None:
        """Look, and open or close, until cancelled; then it is closed."""
        try:
            if self._config.console.enabled:
                await asyncio.to_thread(_console_class)  # during the first probes, whose end decides who leads
            while True:
                await self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            await self._close("the monitor stops")

    async def _look(self) -> None:
        section = self._config.console
        if self._console is not None and not self._console.is_alive:
            await self._close("it failed")
        if not section.enabled or not serves(self._roles(), already=self._console is not None):
            await self._close("switched off" if not section.enabled else "another monitor leads")
        elif (self._console is None or self._is_changed) and time.monotonic() - self._tried_at >= RETRY_S:
            self._tried_at = time.monotonic()
            await self._try_to_serve()

    async def _try_to_serve(self) -> None:
        """Open it, or go on under the new config; why that fails is logged once, and it is tried again."""
        try:
            setting = await self._settled()
            if self._console is None:
                await self._open(setting)
            else:
                self._console.change(setting)
        except (OSError, RedisError) as error:
            trouble = plainly(error)
            if trouble != self._trouble:
                address = self._config.listen.console
                log.warning(line(Event.CONSOLE, address=address, error=trouble, retry_s=RETRY_S))
            self._trouble = trouble
        else:
            self._is_changed, self._trouble = False, ""

    async def _open(self, setting: Setting) -> None:
        console = (await asyncio.to_thread(_console_class))(setting, self._metrics)
        starting = asyncio.get_running_loop().run_in_executor(None, console.start)
        try:
            where = await asyncio.shield(starting)
        except asyncio.CancelledError:  # the thread goes on to listen, and nobody would end that
            with suppress(OSError):
                await starting
            await console.stop()
            raise
        self._console = console
        log.info(line(Event.CONSOLE, url=where.url, token_file=setting.token_file))

    async def _agree(self) -> str:
        """The token of all monitors; where there is no run directory, one that nobody knows: then one can only read."""
        path = self._token_file
        if path is None:
            return new_secret()
        return await agreed_token(self._office.redis, self._config.store.namespace, path)

    async def _close(self, why: str) -> None:
        console, self._console = self._console, None
        if console is not None:
            await console.stop()
            log.info(line(Event.CONSOLE, closed=why))

    async def _settled(self) -> Setting:
        """What is in force; a console that is opened looks anew what the others have agreed upon."""
        config = self._config
        own = config.console.token
        if own is None and not (self._console and self._kept_token):
            self._kept_token = await self._agree()
        return Setting(
            address=config.listen.console_socket,
            url=self._office.url,
            namespace=config.store.namespace,
            host=config.store.host,
            owner=self._office.owner,
            pools=tuple(config.key_name(name) for name in config.pools),
            section=config.console,
            token=own or self._kept_token,
            token_file=None if own else self._token_file,
        )


def _console_class() -> "type[Console]":
    """To be called beside the loop: what it imports takes a third of a second, for which no probe is to wait."""
    from sidecar.console.serving import Console

    return Console
