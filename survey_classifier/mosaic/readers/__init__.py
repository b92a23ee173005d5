"""Readers of survey image files, one module a survey.

Owns the tables of readers by name. A reader takes one input of the run file and one path and
returns an `Exposure`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from survey_classifier.mosaic.exposure import Exposure, MosaicInput
from survey_classifier.mosaic.readers.euclid import open_euclid_ero, open_euclid_mer
from survey_classifier.mosaic.readers.fits import open_fits
from survey_classifier.mosaic.readers.hsc import open_hsc
from survey_classifier.mosaic.readers.mer_files import companions, newest
from survey_classifier.mosaic.readers.sdss import open_sdss

__all__ = ["COMPANIONS", "READERS", "SELECT"]

READERS: Mapping[str, Callable[[MosaicInput, Path], Exposure]] = MappingProxyType(
    {
        "fits": open_fits,
        "hsc": open_hsc,
        "euclid-ero": open_euclid_ero,
        "euclid-mer": open_euclid_mer,
        "sdss": open_sdss,
    }
)
"""Function that opens a file, by the name in ``mosaic.inputs.reader``."""
SELECT: Mapping[str, Callable[[Sequence[Path]], list[Path]]] = MappingProxyType(
    {"euclid-mer": newest}
)
"""Function that leaves out superseded files of an input, by reader; others take every file."""
COMPANIONS: Mapping[str, Callable[[Iterable[Path]], Mapping[Path, tuple[Path, ...]]]] = (
    MappingProxyType({"euclid-mer": companions})
)
"""Function that finds the files that images are read with, by reader; others read one file."""
