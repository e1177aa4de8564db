"""`sidebeat --help`: the commands in groups, by what one comes for, and what an exit status says."""

from itertools import groupby
from typing import Any

from typer.core import TyperGroup
from typing_extensions import override

EPILOG = """\b
Where: a command finds the system that runs on this machine by itself;
-c FILE or --redis URL [--namespace NS] name another one, on any machine.
\b
Exit status: 0 done, 1 could not (or `doctor` found something wrong),
2 wrong use or config, 130 cut short by Ctrl-C.
\b
First steps: `sidebeat up http://127.0.0.1:8081`, and in another terminal
`sidebeat top`; `sidebeat doctor` says what is wrong, and how to mend it."""


class Grouped(TyperGroup):
    """The commands under the headings that ``rich_help_panel`` gives them, in the order in which they were added."""

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:  # typer keeps their types to itself
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        width = max(len(name) for name, _ in commands)
        for panel, members in groupby(commands, key=lambda each: getattr(each[1], "rich_help_panel", "Commands")):
            with formatter.section(panel):
                limit = formatter.width - width - 6
                formatter.write_dl([(f"{name:<{width}}", each.get_short_help_str(limit)) for name, each in members])
