"""The tables of a run file that say what is known of the sources besides their pixels.

Owns ``[sources]``, ``[[redshifts]]``, ``[bright_stars]`` and ``[membership]``: the keys, their
defaults, and which of them exclude each other. Does not own the other tables (``config``), the
columns (``sources``) nor what the evidence is worth (``membership``).
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from survey_classifier.membership.evidence import Piece
from survey_classifier.membership.extinction import EXTINCTION
from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.settings import Settings
from survey_classifier.sources.spectra import RedshiftColumns
from survey_classifier.sources.table import MAX_EBV, SourceColumns

__all__ = ["BrightStarsSettings", "MembershipSettings", "RedshiftsSettings", "SourcesSettings"]

Share = Annotated[float, Field(gt=0, lt=1)]
Center = tuple[Annotated[float, Field(ge=0, lt=360)], Annotated[float, Field(ge=-90, le=90)]]
_REDSHIFT = RedshiftCuts()


class SourcesSettings(Settings):
    """The ``[sources]`` table: the list of what is to be classified."""

    path: str | None = None
    """The table; none where the sources are detected."""
    detect: bool = False
    """Whether to find the sources on the mosaic, by the ``[detect]`` table."""
    columns: SourceColumns = SourceColumns()
    system: str = "sdss"
    """Photometric system of the magnitudes, for dereddening: a key of `EXTINCTION`."""
    dereddened: bool = False
    """Whether the magnitudes are free of Galactic extinction already."""
    ebv: Annotated[float, Field(ge=0, lt=MAX_EBV)] | None = None
    """E(B-V) of all sources, where the table has no column of it."""
    dust_map: str | None = None
    """A map of E(B-V) of Schlegel, Finkbeiner & Davis: a HEALPix file, or the folder of the
    original pair; for sources of which the table says nothing."""

    @model_validator(mode="after")
    def _one_list(self) -> "SourcesSettings":
        if self.detect == (self.path is not None):
            raise ValueError("give either path (a table of sources) or detect = true")
        if self.detect and "columns" in self.model_fields_set:
            raise ValueError("detected sources have columns of their own: leave columns out")
        return self

    @model_validator(mode="after")
    def _known_system(self) -> "SourcesSettings":
        if self.system not in EXTINCTION:
            known = ", ".join(EXTINCTION)
            raise ValueError(f"unknown photometric system {self.system!r}; known are {known}")
        if not self.dereddened:
            unknown = sorted(set(self.columns.mag) - set(EXTINCTION[self.system]))
            if unknown:
                raise ValueError(
                    f"no extinction coefficient for band {unknown[0]!r} of {self.system}; "
                    f"known are {', '.join(EXTINCTION[self.system])}, or set dereddened = true"
                )
            if self.columns.ebv is not None and self.ebv is not None:
                raise ValueError("give columns.ebv or a constant ebv, not both")
            if self.columns.mag and not self.knows_ebv:
                raise ValueError(
                    "magnitudes need E(B-V): give columns.ebv, dust_map, ebv = a constant, or "
                    "dereddened = true"
                )
        if self.ebv is not None and self.dust_map is not None:
            raise ValueError("give dust_map or a constant ebv, not both")
        return self

    @property
    def knows_ebv(self) -> bool:
        """Whether E(B-V) comes from anywhere."""
        return any(given is not None for given in (self.columns.ebv, self.ebv, self.dust_map))


class RedshiftsSettings(Settings):
    """A ``[[redshifts]]`` table: a table of spectroscopic redshifts."""

    path: str
    name: str = ""
    """What the table is called in the catalog's ``z_source``; by default its file's name."""
    columns: RedshiftColumns = RedshiftColumns()
    radius_arcsec: Annotated[float, Field(gt=0, le=60)] = 1.5
    """Largest separation of a match by position."""

    @property
    def title(self) -> str:
        """What the table is called."""
        return self.name or Path(self.path).stem


class BrightStarColumns(Settings):
    """``columns`` of ``[bright_stars]``."""

    ra: str = "ra"
    dec: str = "dec"
    mag: str = "mag"
    """Magnitude, of Gaia G or close to it."""


class BrightStarsSettings(Settings):
    """The ``[bright_stars]`` table: stars whose halos are flagged."""

    path: str
    columns: BrightStarColumns = BrightStarColumns()


class MembershipSettings(Settings):
    """The ``[membership]`` table: windows, evidence and prior; the defaults are of Perseus."""

    prior: Share | str | None = None
    """Share of members among galaxies: a number, a shipped table by its name, or a table's file.
    By default ``perseus``, and with another cluster there is none."""
    evidence: str | None = None
    """What evidence is worth: a shipped model by its name, or a file of ``calibrate``. By default
    ``perseus``, and with another cluster that which knows the network's training alone."""
    without: tuple[Piece, ...] = ()
    """Evidence that is left out: image, color, redshift, position, star."""
    center_deg: Center = CENTER_DEG
    """Right ascension and declination of the cluster's center."""
    red_sequence: str = "perseus-gz"
    """A shipped red sequence by its name, or a file of ``red-sequence``."""
    min_valid_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A stamp with less usable area is not classified (status low_coverage)."""
    star_max_z: float = _REDSHIFT.star_max_z
    cluster_max_z: float = _REDSHIFT.cluster_max_z
    z_cluster: float = _REDSHIFT.z_cluster
    sigma_km_s: float = _REDSHIFT.sigma_km_s
    n_sigma: float = _REDSHIFT.n_sigma
    color_offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Color of the sources' photometry minus that of the red sequence's; -0.07 for Suprime-Cam."""

    def redshift_cuts(self) -> RedshiftCuts:
        """Return the redshift windows."""
        return RedshiftCuts(
            star_max_z=self.star_max_z,
            cluster_max_z=self.cluster_max_z,
            z_cluster=self.z_cluster,
            sigma_km_s=self.sigma_km_s,
            n_sigma=self.n_sigma,
        )

    @property
    def is_perseus(self) -> bool:
        """Whether this is the cluster that the defaults are of."""
        return self.center_deg == CENTER_DEG and self.z_cluster == _REDSHIFT.z_cluster

    @model_validator(mode="after")
    def _sound(self) -> "MembershipSettings":
        self.redshift_cuts()
        if self.prior is None and not self.is_perseus:
            raise ValueError(
                "center_deg or z_cluster is not that of Perseus, whose prior is the default: give "
                "prior = a number, or the file of a table"
            )
        return self
