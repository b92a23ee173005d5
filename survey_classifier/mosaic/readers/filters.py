"""Whether an image was taken through the filter of the band that its input says.

Owns the reading of filters' names. Does not own the names of files (the readers), nor which bands
a run has.

Bands may have any names, and telescopes name their filters as they like. So an image is refused
only where both names are plain, and are those of two passbands: ``r`` and ``HSC-R2``,
``r.MP9602``, ``NIR_Y`` or ``g DECam SDSS c0001`` are, ``red``, ``F814W`` or ``W-J-V`` are not.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from astropy.io import fits

from survey_classifier.errors import MosaicError

__all__ = ["filters_of", "passbands", "require_band"]

CARDS = ("FILTER", "BAND")
PASSBAND = re.compile(r"([ugrizy])[2'*+]?|([jhk])|(k)s|(vis)", re.IGNORECASE)
"""A passband as a word: a letter with what marks a second or a primed filter of it, or VIS. Case
says nothing: ``R`` of one telescope is the ``r`` of another."""
EUCLID_VIS = {"I": {"i", "vis"}, "I_E": {"vis"}, "IE": {"vis"}}
"""Euclid's papers call its VIS band I with an index E; a capital I alone may be either."""


def passbands(name: str) -> set[str]:
    """Return which passbands a name may stand for, none if it is not plain.

    Parameters
    ----------
    name
        Of a filter or a band. A passband is its first or last word, but not both unless they are
        the same: ``i-z`` is a color.
    """
    if name.strip() in EUCLID_VIS:
        return EUCLID_VIS[name.strip()]
    words = re.findall(r"[^\s._-]+", name)
    matches = (PASSBAND.fullmatch(word) for word in words[:1] + words[1:][-1:])
    found = {next(filter(None, match.groups())).lower() for match in matches if match is not None}
    return found if len(found) == 1 else set()


def filters_of(header: fits.Header) -> list[str]:
    """Return what a header says of the filter; a card may be there twice.

    Parameters
    ----------
    header
        Of an image.
    """
    there = [card for card in CARDS if card in header]
    return [str(header[card, n]) for card in there for n in range(header.count(card))]


def require_band(band: str, said: Sequence[str], path: Path, by: str) -> None:
    """Refuse an image of another passband than that of its input.

    Parameters
    ----------
    band
        Name of the input's band.
    said
        Filters that the file names; one that is the band's, or none that is plain, will do.
    path
        The file.
    by
        What of the file says so, ``header`` or ``name``.

    Raises
    ------
    MosaicError
        If the band is a passband, and the file is plainly of another one.
    """
    wanted = passbands(band)
    plain = [name for name in said if passbands(name)]
    if wanted and plain and not any(passbands(name) & wanted for name in plain):
        raise MosaicError(
            f"{path} is of the filter {plain[0]} by its {by}, not of band {band!r}: give it its "
            f"own band, leave it out, or mend its {by}"
        )
