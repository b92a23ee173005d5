"""Readers of survey image files, one module a survey.

Owns the table of readers by name. A reader takes one input of the run file and one path and
returns an `Exposure`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from survey_classifier.mosaic.exposure import Exposure, MosaicInput
from survey_classifier.mosaic.readers.fits import open_fits

__all__ = ["READERS"]

READERS: Mapping[str, Callable[[MosaicInput, Path], Exposure]] = MappingProxyType(
    {"fits": open_fits}
)
"""Function that opens a file, by the name in ``mosaic.inputs.reader``."""
