"""What a line of the access log costs: one running proxy, which is told to log in another form before each turn.

Two processes started alike differ by up to a tenth (where their memory lies, for one), which is as much as a log costs.
"""

import subprocess
import sys
from pathlib import Path
from typing import Self

import origin
import wrk
from figures import Run
from lab import Lab, LabError
from subjects import Proxy, Site, Start, launch, sidebeat

FORMS = ("off", "json", "logfmt", "common")
"""The first is what the others are held against."""
_TABLE = """
[log]
access = "{form}"
file = "{folder}/access.log"
"""


class Talkative:
    """A proxy that can be told how to log."""

    def __init__(self, lab: Lab, proxy: Proxy, start: Start) -> None:
        self._lab = lab
        self._proxy = proxy
        self._environ = start.environ
        self._config = Path(start.command[-1])
        self._text = self._config.read_text()

    @classmethod
    def start(cls, lab: Lab) -> Self:
        """Start one, which logs nothing yet.

        Raises:
            LabError: it does not start.
        """
        starts: list[Start] = []

        def prepare(site: Site) -> Start:
            starts.append(sidebeat(site))
            return starts[0]

        proxy = launch(lab, "sidebeat", prepare, origin.start_nginx(lab), workers=1)
        return cls(lab, proxy, starts[0])

    def named(self, form: str) -> Proxy:
        """The same proxy under the name of a form."""
        return Proxy(name=form, program=self._proxy.program, port=self._proxy.port)

    def measure(self, form: Proxy, seconds: int) -> Run:
        """The small GET, with lines in the form of that name.

        Raises:
            LabError: it does not take the form.
        """
        self._config.write_text(self._text + _TABLE.format(form=form.name, folder=self._config.parent))
        command = [sys.executable, "-P", "-m", "sidecar", "reload", "-c", str(self._config)]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"it does not log as {form.name}:\n{done.stdout}{done.stderr}")
        return wrk.measure(self._lab, wrk.Load(name="get"), form, seconds)
