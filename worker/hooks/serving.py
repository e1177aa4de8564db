"""All that ``sidebeat worker`` tells gunicorn, as the settings of a conf file.

Whatever follows in that file goes over it; who has a ``pre_fork`` or ``child_exit`` of their own calls the one from
here in it. SIGUSR2 is refused: the sockets are taken.

At each SIGHUP gunicorn executes its conf file again, and replaces its workers. Our file is read again then, too: if it
can be applied, the new workers begin with it, and those that drain go on by it; if not, all goes on as before, and the
log says why. What must outlive that is kept in this module. `sidebeat worker` applies a file without new workers.
"""

import logging
import os
import sys
from pathlib import Path

from sidecar.contract.config import ConfigError, load
from sidecar.contract.config.change import pinned
from sidecar.contract.events import Event, line
from sidecar.contract.whereabouts import store_url
from worker.board import board_for
from worker.secret import with_secrets
from worker.server.crew import Crew, new_instance
from worker.server.listeners import BindError, bind_all
from worker.server.master import settings as gunicorn_settings

logger = logging.getLogger(__name__)

_made: dict[Path, tuple[dict[str, object], Crew]] = {}


def settings(path: str | Path) -> dict[str, object]:
    """The settings that make any gunicorn master serve the config in this file, its sockets bound.

    Raises:
        SystemExit: 2 for a config that cannot be used, 1 for an address that cannot be bound; said in one line.
    """
    path = Path(path).resolve()
    if path in _made:
        known, crew = _made[path]
        _reload(path, crew)
        return known
    try:
        made = _made[path] = _make(path)
    except (ConfigError, BindError) as error:
        sys.stderr.write(f"sidebeat: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    else:
        return made[0]


def _reload(path: Path, crew: Crew) -> None:
    """Hand what the file says now to all workers, if it can be applied. Never raises: that would end the master."""
    environ = dict(os.environ)
    try:
        config = with_secrets(load(path, environ), environ)
        problems = pinned(crew.handover.config, config)
    except ConfigError as error:
        problems = error.problems
    else:
        if not problems:
            crew.handover.give(config)
            logger.info(line(Event.CONFIG, path=path, reload="applied"))
    for problem in problems:
        logger.error(line(Event.CONFIG, path=path, reload="refused", problem=problem))


def _make(path: Path) -> tuple[dict[str, object], Crew]:
    environ = dict(os.environ)
    config = with_secrets(load(path, environ), environ)
    store_url(config, environ)
    listeners = tuple(bind_all(config.listen))
    crew = Crew(config=config, board=board_for(config), listeners=listeners, instance=new_instance(), environ=environ)
    made = gunicorn_settings(crew) | {
        "bind": [f"fd://{listener.socket.detach()}" for listener in listeners],  # gunicorn closes the number itself
        "wsgi_app": "worker.app:create_app",  # gunicorn insists on a name; our worker class never looks at it
    }
    return made, crew
