"""Dust maps: HEALPix files and the polar pair give back the function that they were made of."""

import time

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy_healpix import HEALPix

from survey_classifier.errors import SourcesError
from survey_classifier.sources.dust import PAIR, read_dust_map

N_SIDE = 64
SIDE_PX = 512


def dust(longitude_deg, latitude_deg):
    """Return an E(B-V) that is smooth over the whole sphere: a sum of its first harmonics."""
    longitude, latitude = np.radians(longitude_deg), np.radians(latitude_deg)
    x, y, z = (
        np.cos(latitude) * np.cos(longitude),
        np.cos(latitude) * np.sin(longitude),
        np.sin(latitude),
    )
    return 0.5 + 0.2 * x - 0.15 * y + 0.1 * z + 0.05 * x * y


def at(ra, dec):
    galactic = SkyCoord(ra, dec, unit="deg").galactic
    return dust(galactic.l.deg, galactic.b.deg)


def everywhere(n=4000):
    """Return positions all over the sky, at both galactic poles, and along the galactic equator."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    longitude = np.concatenate([[0, 0], np.linspace(0, 360, 50), np.linspace(0, 360, 50)])
    latitude = np.concatenate([[90, -90], np.full(50, 1e-7), np.full(50, -1e-7)])
    special = SkyCoord(longitude, latitude, unit="deg", frame="galactic").icrs
    return np.append(ra, special.ra.deg), np.append(dec, special.dec.deg)


def write_healpix(
    path, order="nested", system="G", per_row=1024, name="TEMPERATURE", n_side=N_SIDE
):
    pixels = HEALPix(n_side, order=order)
    longitude, latitude = pixels.healpix_to_lonlat(np.arange(pixels.npix))
    values = (dust if system == "G" else at)(longitude.deg, latitude.deg)
    column = fits.Column(name, f"{per_row}E", array=values.reshape(-1, per_row))
    hdu = fits.BinTableHDU.from_columns([column])
    hdu.header["PIXTYPE"] = "HEALPIX"
    hdu.header["ORDERING"] = order.upper()
    hdu.header["COORDSYS"] = system
    hdu.writeto(path)
    return path


def write_pair(folder, side_px=SIDE_PX, change=None):
    """Write polar images by the inverse of their projection, out to their corners."""
    folder.mkdir()
    scale = side_px / 2
    y, x = np.mgrid[:side_px, :side_px] - (side_px / 2 - 0.5)
    for name, sign in (("north", 1), ("south", -1)):
        sine = sign * (1 - (x**2 + y**2) / scale**2)
        longitude = np.degrees(np.arctan2(-sign * y, x))
        # Corners go beyond the equator, as in the published images.
        image = dust(longitude, np.degrees(np.arcsin(sine))).astype(np.float32)
        header = fits.Header(
            {
                "CRPIX1": side_px / 2 + 0.5,
                "CRPIX2": side_px / 2 + 0.5,
                "LAM_NSGP": sign,
                "LAM_SCAL": scale,
            }
        )
        if change:
            change(name, image, header)
        fits.writeto(folder / PAIR[name], image, header)
    return folder


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("system", ["G", "C"])
def test_a_healpix_map_gives_its_function_back(tmp_path, order, system):
    dust_map = read_dust_map(write_healpix(tmp_path / "map.fits", order, system))
    ra, dec = everywhere()
    np.testing.assert_allclose(dust_map.ebv(ra, dec), at(ra, dec), atol=2e-3)


def test_the_polar_pair_gives_its_function_back_at_poles_and_seam(tmp_path):
    dust_map = read_dust_map(write_pair(tmp_path / "sfd"))
    ra, dec = everywhere()
    np.testing.assert_allclose(dust_map.ebv(ra, dec), at(ra, dec), atol=2e-3)


def test_finer_pairs_are_closer_by_the_square(tmp_path):
    """Bilinear interpolation, centered right: halving pixels quarters the error inside."""
    ra, dec = everywhere(20_000)
    inside = np.abs(SkyCoord(ra, dec, unit="deg").galactic.b.deg) > 5
    worst = []
    for side_px in (128, 256, 512):
        dust_map = read_dust_map(write_pair(tmp_path / str(side_px), side_px))
        worst.append(np.abs(dust_map.ebv(ra, dec) - at(ra, dec))[inside].max())
    assert worst[0] > 3 * worst[1] > 9 * worst[2]


def test_no_place_and_no_value_are_unknown(tmp_path):
    path = write_healpix(tmp_path / "map.fits", per_row=1)
    with fits.open(path, mode="update") as hdus:
        hole = HEALPix(N_SIDE, order="nested").lonlat_to_healpix(150.58 * u.deg, -13.26 * u.deg)
        hdus[1].data["TEMPERATURE"][hole] = -1.6375e30
    dust_map = read_dust_map(path)
    ebv = dust_map.ebv(np.array([np.nan, 10, 49.95, 60]), np.array([1, np.nan, 41.51, -20]))
    assert np.isnan(ebv[:3]).all()
    assert ebv[3] == pytest.approx(at(60, -20), abs=2e-3)


def test_a_negative_pixel_of_the_pair_is_unknown(tmp_path):
    def spoil(name, image, _):
        if name == "south":
            image[:] = -0.1

    dust_map = read_dust_map(write_pair(tmp_path / "sfd", 64, spoil))
    perseus, coma = dust_map.ebv(np.array([49.95, 194.95]), np.array([41.51, 27.98]))
    assert np.isnan(perseus)
    assert coma > 0


def test_a_million_sources_take_seconds(tmp_path):
    dust_map = read_dust_map(write_healpix(tmp_path / "map.fits", n_side=256))
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(49, 51, 1_000_000), rng.uniform(40, 42, 1_000_000)
    begin = time.perf_counter()
    assert np.isfinite(dust_map.ebv(ra, dec)).all()
    assert time.perf_counter() - begin < 20


def test_a_column_is_chosen_by_name_or_refused(tmp_path):
    path = write_healpix(tmp_path / "one.fits", name="tau")
    assert np.isfinite(read_dust_map(path).ebv(np.zeros(1), np.zeros(1))).all()
    with fits.open(path) as hdus:
        columns = [*hdus[1].columns, fits.Column("N_OBS", "1024E", array=hdus[1].data["tau"] * 0)]
        both = fits.BinTableHDU.from_columns(columns, header=hdus[1].header)
        both.writeto(tmp_path / "two.fits")
    with pytest.raises(SourcesError, match="has the columns tau, N_OBS, none of which"):
        read_dust_map(tmp_path / "two.fits")
    assert read_dust_map(tmp_path / "two.fits", "N_OBS").ebv(np.zeros(1), np.zeros(1)) == [0]
    with pytest.raises(SourcesError, match="no column 'tua': did you mean 'tau'"):
        read_dust_map(tmp_path / "two.fits", "tua")


def card(name, value):
    def change(_, __, header):
        if value is None:
            del header[name]
        else:
            header[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (card("LAM_SCAL", None), "ngp.fits has no LAM_SCAL"),
        (card("LAM_NSGP", 1), "sgp.fits is not of the south"),
    ],
)
def test_a_pair_that_is_none_is_refused(tmp_path, change, message):
    with pytest.raises(SourcesError, match=message):
        read_dust_map(write_pair(tmp_path / "sfd", 64, change))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ORDERING", "NUNIQ", "ORDERING = 'NUNIQ'"),
        ("COORDSYS", "E", "COORDSYS = 'E'"),
    ],
)
def test_a_healpix_file_in_another_system_is_refused(tmp_path, name, value, message):
    path = write_healpix(tmp_path / "map.fits")
    fits.setval(path, name, value=value, ext=1)
    with pytest.raises(SourcesError, match=message):
        read_dust_map(path)


def test_what_is_no_map_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourcesError, match=r"there is no dust map .*ngp\.fits: give"):
        read_dust_map(tmp_path / "empty")
    (tmp_path / "text.fits").write_text("no FITS at all")
    with pytest.raises(SourcesError, match=r"cannot read the dust map .*text\.fits"):
        read_dust_map(tmp_path / "text.fits")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(SourcesError, match="holds no table"):
        read_dust_map(tmp_path / "image.fits")
    with fits.open(write_healpix(tmp_path / "map.fits", per_row=1)) as hdus:
        part = fits.BinTableHDU(hdus[1].data[:1000], hdus[1].header)
        part.writeto(tmp_path / "part.fits")
    with pytest.raises(SourcesError, match="1000 pixels, which is not the whole sky"):
        read_dust_map(tmp_path / "part.fits")
