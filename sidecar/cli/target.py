"""`POOL/BACKEND` as a person writes it, and the pool and backend that it means. Pure."""

from collections.abc import Collection, Iterable, Mapping

from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError


def resolve(text: str, known: Mapping[str, Collection[str]]) -> tuple[str, str]:
    """The pool's name in keys, and the backend's id, which may well have slashes in it.

    Args:
        known: the ids of each pool's backends by the pool's name in keys.

    Raises:
        TroubleError: it is not POOL/BACKEND, there is no such pool or backend, or nobody knows of any yet.
    """
    written, slash, backend = text.partition("/")
    if not (written and slash and backend):
        raise TroubleError(WRONG_USE, f"{text!r} is not POOL/BACKEND, like api/alpha")
    pool = resolve_pool(written, known)
    require_backend(pool, backend, known[pool])
    return pool, backend


def require_backend(pool: str, backend: str, known: Collection[str]) -> None:
    """Refuse a backend that is not one of the pool's.

    Raises:
        TroubleError: it is not, or nobody knows of any.
    """
    if not known:
        raise TroubleError(
            FAILED, f"nothing is known of the backends of {pool}: its view cannot be read, or there is none"
        )
    if backend not in known:
        raise TroubleError(WRONG_USE, f"the pool {pool} has no backend {backend!r}, only {_list(known)}")


def resolve_pool(written: str, known: Collection[str]) -> str:
    """The pool's name in keys; ``api`` means ``api@HOST`` where only one host has such a pool.

    Raises:
        TroubleError: there is no such pool, there are several, or nobody knows of any yet.
    """
    if written in known:
        return written
    found = [name for name in known if name.partition("@")[0] == written]
    if len(found) > 1:
        raise TroubleError(WRONG_USE, f"there are several pools {written!r}: {_list(found)}; say which")
    if not known:
        raise TroubleError(FAILED, "no pool is known: no monitor has published one yet")
    if not found:
        raise TroubleError(WRONG_USE, f"there is no pool {written!r}, only {_list(known)}")
    return found[0]


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
