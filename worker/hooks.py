"""For people who start gunicorn themselves: all that ``sidebeat worker`` tells it, as the settings of a conf file.

    # gunicorn.conf.py; then plain `gunicorn`
    from worker.hooks import settings
    globals().update(settings("sidebeat.toml"))

Whatever follows in that file goes over it; who has a ``pre_fork`` or ``child_exit`` of their own calls the one from
here in it. SIGHUP makes new workers on the config as it was first read. SIGUSR2 is refused: the sockets are taken.

gunicorn executes its conf file again at each SIGHUP, so what must outlive that is kept in this module.
"""

import logging
import os
import sys
from pathlib import Path

from sidecar.contract.config import ConfigError, load
from sidecar.contract.connect import store_url
from sidecar.contract.events import Event, line
from worker.board import board_for
from worker.secret import with_secrets
from worker.server.crew import Crew
from worker.server.listeners import BindError, bind_all
from worker.server.master import settings as gunicorn_settings

logger = logging.getLogger(__name__)

_made: dict[Path, dict[str, object]] = {}


def settings(path: str | Path) -> dict[str, object]:
    """The settings that make any gunicorn master serve the config in this file, its sockets bound.

    Raises:
        SystemExit: 2 for a config that cannot be used, 1 for an address that cannot be bound; said in one line.
    """
    path = Path(path).resolve()
    if path in _made:
        logger.warning(line(Event.CONFIG, path=path, reload="keeps the config as first read; restart to apply changes"))
        return _made[path]
    try:
        return _made.setdefault(path, _make(path))
    except (ConfigError, BindError) as error:
        sys.stderr.write(f"sidebeat: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _make(path: Path) -> dict[str, object]:
    environ = dict(os.environ)
    config = with_secrets(load(path, environ), environ)
    store_url(config, environ)
    listeners = tuple(bind_all(config.listen))
    crew = Crew(config=config, board=board_for(config), listeners=listeners, instance=str(os.getpid()), environ=environ)
    return gunicorn_settings(crew) | {
        "bind": [f"fd://{listener.socket.detach()}" for listener in listeners],  # gunicorn closes the number itself
        "wsgi_app": "worker.app:create_app",  # gunicorn insists on a name; our worker class never looks at it
    }
