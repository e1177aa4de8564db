"""What a backend says of itself in the answer to a probe. Pure.

``X-Health-State`` is ``healthy``, ``degraded``, ``draining`` or ``unhealthy``. ``X-Health-Weight`` is a percentage of
the configured weight, with or without the sign, as in HAProxy's agent-check; but no more than 100: a backend may ask
for less than the operator gave it, never for more. 0 is another word for ``draining``: only the operator's own 0 takes
a backend out so far that not even a pool without any other tries it. What cannot be read is ignored, and the reason
says so.
"""

import re
from dataclasses import replace

from sidecar.contract.model import Health
from sidecar.verdict import Evidence

STATE_FIELD = "x-health-state"
WEIGHT_FIELD = "x-health-weight"

_STATES = {state.value: state for state in Health if state is not Health.UNKNOWN}
_PERCENT = re.compile(r"(100(?:\.0*)?|[0-9]{1,2}(?:\.[0-9]*)?) *%?", re.ASCII)
_SHOWN_CHARS = 20


def heed(evidence: Evidence, state: str | None, weight: str | None) -> Evidence:
    """The evidence with the values of both fields in it; None: the field did not come.

    ``unhealthy`` fails the probe, whatever the status was.
    """
    if state is not None:
        evidence = _with_state(evidence, state.strip())
    if weight is not None:
        evidence = _with_weight(evidence, weight.strip())
    return evidence


def _with_state(evidence: Evidence, text: str) -> Evidence:
    state = _STATES.get(text.lower())
    match state:
        case None | Health.UNKNOWN:
            return _noted(evidence, f"X-Health-State {text[:_SHOWN_CHARS]!r} is no state")
        case Health.HEALTHY:
            return replace(evidence, advertised=state)
        case Health.DEGRADED | Health.DRAINING | Health.UNHEALTHY:
            return replace(
                evidence,
                passed=evidence.passed and state is not Health.UNHEALTHY,
                advertised=state,
                reason=f"{evidence.reason}, the backend says {state}",
            )


def _with_weight(evidence: Evidence, text: str) -> Evidence:
    if not (match := _PERCENT.fullmatch(text)):
        return _noted(evidence, f"X-Health-Weight {text[:_SHOWN_CHARS]!r} is no percentage from 0 to 100")
    share = float(match[1]) / 100
    return replace(evidence, advertised_weight=share) if share else _without_work(evidence)


def _without_work(evidence: Evidence) -> Evidence:
    if not evidence.passed or evidence.advertised is Health.DRAINING:
        return evidence
    reason = f"{evidence.reason}, the backend asks for no work"
    return replace(evidence, advertised=Health.DRAINING, reason=reason)


def _noted(evidence: Evidence, note: str) -> Evidence:
    return replace(evidence, reason=f"{evidence.reason} ({note})")
