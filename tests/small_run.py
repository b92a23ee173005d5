"""A small run that is real in every part: store, tables, checkpoint (untrained), run file."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
import torch
from astropy.wcs import WCS

from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.resnet import ResNet
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.writer import Layout, MosaicWriter

SHAPE = (600, 530)
SCALE_ARCSEC = 0.4
BANDS = ("g", "i")
HOLE = (slice(100, 180), slice(200, 280))


@dataclass
class SmallRun:
    """Where the pieces of the run lie, and how to vary its file."""

    folder: Path

    def write(self, name="run", **changes):
        """Write a run file; ``tiles={"size_px": 256}`` replaces keys of a table."""
        content = {
            "name": name,
            "out": f"out-{name}",
            "mosaic": {"store": "small.zarr"},
            "sources": {
                "path": "sources.csv",
                "ebv": 0.17,
                "columns": {"id": "name", "mag": {"g": "mag_g", "r": "mag_r", "z": "mag_z"}},
            },
            "redshifts": {
                "path": "redshifts.csv",
                "columns": {"z_err": "z_err", "z_warning": "warn", "spec_class": "kind"},
            },
            "model": {"checkpoint": "net.safetensors", "device": "cpu"},
            "tiles": {"size_px": 256},
            "cluster": {"kind": "serial", "dashboard": "127.0.0.1:0"},
        }
        for table, keys in changes.items():
            content[table] = content.get(table, {}) | keys if isinstance(keys, dict) else keys
        path = self.folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(content))
        return path


def grid():
    """Return the WCS of the small mosaic."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [49.95, 41.51]
    wcs.wcs.crpix = [265.0, 300.0]
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    return wcs


def write_store(path, bands=BANDS, unit="nJy"):
    """Write a mosaic of noise and blobs with a hole; band g's pixels depend on its name only."""
    infos = tuple(BandInfo(band, unit) for band in bands)
    writer = MosaicWriter.open_or_create(path, Layout("small", infos, SHAPE, grid()))
    flux, mask = {}, np.zeros(SHAPE, dtype=np.uint8)
    mask[300:304, :] = MaskBit.SATURATED
    for band in bands:
        rng = np.random.default_rng([7, *band.encode()])
        flux[band] = rng.normal(0, 3, SHAPE).astype(np.float32)
        y, x = rng.uniform(0, 1, (2, 300)) * np.array(SHAPE)[:, None]
        flux[band][y.astype(int), x.astype(int)] += rng.exponential(200, 300).astype(np.float32)
        flux[band][HOLE] = np.nan
    whole = writer.shard_grid.tile(0, 0).core
    assert whole.shape == SHAPE
    for band in bands:
        writer.write(band, whole, Window(flux[band], mask), 1)
    return writer.finish()


def card(**changes):
    """Return the card of the small network."""
    fields = {
        "name": "small",
        "description": "untrained network for tests",
        "architecture": "resnet15",
        "width": 8,
        "classes": ("nonmember", "member"),
        "bands": BANDS,
        "unit": "nJy",
        "stamp_arcsec": 12.8,
        "stamp_px": 32,
        "stretch": {band: {"softening": 20.0, "maximum": 2000.0} for band in BANDS},
        "n_views": 2,
        "temperature": 1.0,
        "prevalence": {"nonmember": 0.8, "member": 0.2},
        "label_mapping": {},
        "data": (),
        "metrics": {},
        "code_version": "0",
    }
    return ModelCard(**(fields | changes))


def write_checkpoint(path, seed=0, **changes):
    """Write an untrained network: its scores are arbitrary, but differ from stamp to stamp."""
    torch.manual_seed(seed)
    model_card = card(**changes)
    network = ResNet(
        model_card.architecture, model_card.n_channel, len(model_card.classes), model_card.width
    )
    save_checkpoint(path, network, model_card)


def write_sources(path, n=80, seed=11):
    """Write a source list that has every awkward kind in it."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, SHAPE[1] - 1, n)
    y = rng.uniform(0, SHAPE[0] - 1, n)
    # in the hole, at its rim, at the corners, between two tiles, just outside, far outside
    x[:10] = [240, 201, 0, 529.4, 255.5, -0.6, 530.2, -4000, 120, 60]
    y[:10] = [140, 99, 0, 599.4, 255.5, 20, 30, 9000, 302, 400]
    ra, dec = SkyGrid(grid()).pixel_to_world(x, y)
    ra[9] = np.nan
    mags = rng.normal(19, 1, (3, n))
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "ra", "dec", "mag_g", "mag_r", "mag_z"])
        for row in range(n):
            where = [f"{ra[row]:.9f}", f"{dec[row]:.9f}"] if np.isfinite(ra[row]) else ["", ""]
            table.writerow([f"S-{row:03d}", *where, *(f"{m:.3f}" for m in mags[:, row])])
    return ra, dec


def write_redshifts(path, ra, dec):
    """Write redshifts of some sources: a member, a star, one with a warning, one twice."""
    rows = [
        ("a", ra[20], dec[20], 0.0176, 1e-5, 0, "GALAXY"),
        ("b", ra[21], dec[21], 0.0001, 1e-5, 0, "STAR"),
        ("c", ra[22], dec[22], 0.15, 1e-4, 4, "GALAXY"),
        ("d", ra[23], dec[23], 0.02, 1e-4, 4, "GALAXY"),
        ("d", ra[23], dec[23], 0.018, 1e-4, 0, "GALAXY"),
    ]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["object_id", "ra", "dec", "z", "z_err", "warn", "kind"])
        table.writerows(rows)


def make(folder):
    """Write all pieces of the small run into a folder."""
    write_store(folder / "small.zarr")
    write_checkpoint(folder / "net.safetensors")
    ra, dec = write_sources(folder / "sources.csv")
    write_redshifts(folder / "redshifts.csv", ra, dec)
    return SmallRun(folder)
