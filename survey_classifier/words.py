"""Numbers with their nouns, as messages and pages say them.

Owns the plural. Does not own any message.
"""

__all__ = ["are", "counted"]


def counted(n: int, noun: str) -> str:
    """Return a number of things, such as ``1 tile`` and ``3 tiles``.

    Parameters
    ----------
    n
        How many.
    noun
        What one of them is called; its plural ends in s.
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def are(n: int) -> str:
    """Return the verb after a number of things, ``is`` or ``are``.

    Parameters
    ----------
    n
        How many.
    """
    return "is" if n == 1 else "are"
