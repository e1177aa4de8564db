"""`sidebeat completion`: a script for the shell, and the answers to what that script asks."""

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

VARIABLE = "_SIDEBEAT_COMPLETE"
"""How the script asks, as in every program made with typer."""
OUR_NAMES_IN_BASH = "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:@]/}  # a pool is api@web-1, a backend 127.0.0.1:8081"

Shell = Literal["bash", "zsh", "fish"]


def completion(*, shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print what completes our commands and names in a shell. For bash and zsh: eval "$(sidebeat completion bash)"."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it has no public name

    script = get_completion_script(prog_name="sidebeat", complete_var=VARIABLE, shell=shell)
    typer.echo(f"{script}\n{OUR_NAMES_IN_BASH}" if shell == "bash" else script)


def heed_the_shell(environ: Mapping[str, str]) -> None:
    """Get ready to answer where it is the script that asks; nothing is imported for anybody else."""
    if VARIABLE in environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # nor has this

        completion_init()
