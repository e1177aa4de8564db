"""``python -P -m sidecar.contract.config [FILE]``: the check in a process of its own, for whoever may not stop for it.

Prints the config as ``change.to_text`` has it, secrets and all, or a line on stderr for each thing that is wrong and 2.
"""

import os
import sys
from pathlib import Path

from sidecar.contract.config.change import to_text, unusable_files
from sidecar.contract.config.load import ConfigError, load


def main(arguments: list[str]) -> int:
    """Check the file, if one is named, and the environment."""
    try:
        config = load(Path(arguments[0]) if arguments else None, os.environ)
        problems = unusable_files(config)
    except ConfigError as error:
        problems = error.problems
    else:
        if not problems:
            sys.stdout.write(to_text(config))
            return 0
    sys.stderr.write("\n".join(problems) + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
