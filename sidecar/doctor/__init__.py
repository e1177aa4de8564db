"""`sidebeat doctor`: what is wrong with a running system and its config, or will be, and how to mend it.

gather (I/O, once, read-only, bounded) -> facts -> checks (pure, each a few lines) -> findings
"""

from sidecar.doctor.checks import all_findings
from sidecar.doctor.facts import Facts
from sidecar.doctor.finding import Finding, Level
from sidecar.doctor.gather import Patient, gather

__all__ = ["Facts", "Finding", "Level", "Patient", "all_findings", "gather"]
