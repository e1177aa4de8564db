"""Where the log of a program goes: stderr, a line each, time first."""

import json
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override

from sidecar.contract.events import Line


def log_to_stderr(*, quiet: bool = False, form: str = "logfmt") -> None:
    """Set it up for this process, at level info, or only errors; what libraries say of each request is left out.

    ``form``: the word of ``[log] format``.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )  # fmt: skip
    for library in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if quiet:
        logging.disable(logging.WARNING)  # gunicorn and uvicorn have levels of their own
    write_log_as(form)


def write_log_as(form: str) -> None:
    """Go on in this form, the word of ``[log] format``, once the config is known."""
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


class JsonLines(logging.Formatter):
    """An object to a line, in UTC: an event of ours with its fields, anything else as its ``message``."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
        }
        message = record.msg
        if isinstance(message, Line) and not record.args:
            said |= {"event": message.event} | {key: _plain(value) for key, value in message.fields.items()}
        else:
            said["message"] = record.getMessage()
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
