"""Keys that the file may hold and this version does not act on yet; said aloud, so that no knob is silently ignored."""

from collections.abc import Iterator

from sidecar.contract.config.sections import Config

_BACKEND = ("zone", "max_inflight", "max_requests")
_POOL = {"retry": "budget_ratio"}


def pending(config: Config) -> list[str]:
    """The paths of such keys that were set; empty in most files."""
    return list(_pending(config))


def _pending(config: Config) -> Iterator[str]:
    for name, pool in config.pools.items():
        for section, key in _POOL.items():
            if section in pool.model_fields_set and key in getattr(pool, section).model_fields_set:
                yield f"pools.{name}.{section}.{key}"
        if "max_requests_window_s" in pool.model_fields_set:
            yield f"pools.{name}.max_requests_window_s"
        for index, backend in enumerate(pool.backends):
            yield from (f"pools.{name}.backends[{index}].{key}" for key in _BACKEND if key in backend.model_fields_set)
