"""A circle on the sky, as a command is given it.

Owns its limits. Does not own what is looked for in it (``fetch``, ``membership.radial``).
"""

from dataclasses import dataclass

from survey_classifier.errors import ConfigError

__all__ = ["Cone", "read_cone"]


@dataclass(frozen=True, slots=True)
class Cone:
    """A circle on the sky.

    Raises
    ------
    ConfigError
        If it is none.
    """

    ra_deg: float
    dec_deg: float
    radius_deg: float

    def __post_init__(self) -> None:
        sound = 0 <= self.ra_deg < 360 and -90 <= self.dec_deg <= 90 and 0 < self.radius_deg <= 180
        if not sound:
            raise ConfigError(
                f"no circle on the sky: center {self.ra_deg:g}, {self.dec_deg:g}, radius "
                f"{self.radius_deg:g} deg: give 0 <= RA < 360, -90 <= Dec <= 90, 0 < radius <= 180"
            )


def read_cone(center: str | None, radius_deg: float | None) -> Cone | None:
    """Return the circle that a user named, None for none.

    Parameters
    ----------
    center
        Right ascension and declination in degrees, such as ``194.95,27.98``.
    radius_deg
        Its radius in degrees.

    Raises
    ------
    ConfigError
        If one of them is missing, or they are no circle.
    """
    if center is None and radius_deg is None:
        return None
    if center is None or radius_deg is None:
        raise ConfigError("--center and --radius go together: give both or neither")
    try:
        ra_deg, dec_deg = (float(part) for part in center.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--center is {center!r}: give right ascension and declination in degrees, such as "
            "194.95,27.98"
        ) from error
    return Cone(ra_deg, dec_deg, radius_deg)
