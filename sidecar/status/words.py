"""Names, times and lengths of time as people read them; all that is light in what shows a ``Status``."""

from sidecar.contract.latency import BUCKETS

LONGEST_MS = 1000 * BUCKETS[-1]


def printable(text: str) -> str:
    """Text from the store without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def duration(milliseconds: float) -> str:
    """A length of time as people say it."""
    seconds = milliseconds / 1_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def milliseconds(value: float | None) -> str:
    """A time that was measured; empty where none was. Beyond the last bucket nobody knows how long it was."""
    if value is None:
        return ""
    if value >= LONGEST_MS:
        return f"≥{LONGEST_MS / 1000:g} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
