"""`python -m sidecar` is `sidebeat`."""

from sidecar.cli import main

main()
