"""What is leased of the backends that have limits, out of the keys in which the workers' leases stand."""

import re
from collections.abc import Mapping

from sidecar.contract.keys import PoolKeys
from sidecar.status.figures import whole_of
from sidecar.status.records import LimitStatus

Fields = Mapping[str, str]

_SHARE = re.compile(r'\{"granted":(\d{1,15}),"wanted":\d{1,15},"until_ms":(\d{1,15})\}')


def quota_key(keys: PoolKeys, backend: str, share: Fields, now_ms: int) -> str | None:
    """Where the requests of this window are counted; None for a backend that has no limit of them."""
    window_ms, requests = whole_of(share.get("window_ms")), whole_of(share.get("max_requests"))
    return keys.quota(backend, now_ms // window_ms) if window_ms and requests else None


def limits_of(share: Fields, leased: str | None, now_ms: int) -> LimitStatus | None:
    """A backend's limits; None where no instance has told of any lately. What cannot be read counts for nothing."""
    places, requests = whole_of(share.get("max_inflight")), whole_of(share.get("max_requests"))
    if not places and not requests:
        return None
    return LimitStatus(
        max_inflight=places or None,
        places=_places(share, now_ms) if places else {},
        max_requests=requests or None,
        requests=min(whole_of(leased) or 0, requests) if requests else None,
        window_ms=whole_of(share.get("window_ms")) or 0 if requests else None,
    )


def _places(share: Fields, now_ms: int) -> dict[str, int]:
    """What each instance was granted whose lease lasts."""
    told = {name: match for name, value in share.items() if ":" in name and (match := _SHARE.fullmatch(value))}
    return {name: int(match[1]) for name, match in sorted(told.items()) if int(match[2]) > now_ms}
