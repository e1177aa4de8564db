"""Figures out of what stands in the store; whatever that is."""


def number_of(text: str | None) -> float | None:
    """A number that is not negative; None where there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e12 else None


def whole_of(text: str | None) -> int | None:
    """The same of a whole one."""
    return int(text) if text and text.isdecimal() and len(text) < 16 else None
