"""Explaining sources of a finished run: what the network saw of each, and why it scored it so.

Owns the way from a source's identifier to its stamp and its page, and what its files are called.
Does not own the maps
(``model.explain``), how they are drawn (``explanation_figure``) nor what the page says
(``explanation_page``).

The stamp is cut again, from the very pixels, by the very network: both are held against the
digests that the catalog states.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.read import read_provenance, read_rows
from survey_classifier.errors import CatalogError, ConfigError, MosaicError, once_written
from survey_classifier.files import replacing
from survey_classifier.membership.flags import Status
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import load_network
from survey_classifier.model.explain import explain_stamps
from survey_classifier.model.inputs import cut_size_px, pyramid_level
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.inputs import mosaic_stores
from survey_classifier.mosaic.legend import directions
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import RunConfig, read_run
from survey_classifier.run.explanation_figure import explanation_figure
from survey_classifier.run.explanation_page import (
    Explained,
    explanation_index,
    explanation_page,
    score_words,
)
from survey_classifier.run.page import is_page_of_ours
from survey_classifier.stamps import Stamps, cut_stamps

__all__ = ["INDEX", "explain"]

Row = dict[str, Any]
INDEX = "index.html"
"""The page that leads to those of several sources."""
MAX_STEM = 80
"""Letters of an identifier that a file's name has room for."""


def explain(
    out: Path,
    source_ids: Sequence[str],
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a page (HTML) and a picture (PNG) for each of some sources of a run.

    Parameters
    ----------
    out
        Output folder of the run.
    source_ids
        Identifiers of the sources.
    folder
        Where to write; by default ``explain`` in the output folder.
    progress
        Called with the sources that are done and all.

    Returns
    -------
    list of Path
        The pages, in the order of the sources; each has its picture beside it, and several have
        `INDEX`.

    Raises
    ------
    ConfigError
        If the folder is no run's.
    CatalogError
        If the catalog can't be read, has no such source, or one that was not classified, or a page
        can't be written or would take the place of a file of somebody else.
    CheckpointError
        If the network is not there, or is not the one that scored.
    MosaicError
        If the mosaic is not there, or has changed since.
    """
    config = _run_in(out)
    rows = read_rows(config.catalog_path, list(dict.fromkeys(source_ids)))
    for row in rows:
        _require_classified(row)
    target = out / "explain" if folder is None else folder
    _require_ours(target, [_stem(str(row["source_id"])) for row in rows])
    pages: list[Path] = []
    told: list[tuple[str, Explained]] = []
    with once_written(lambda: bool(pages)):
        for explained, picture in _explained(config, rows):
            name = _stem(str(explained.row["source_id"]))
            _write(target / f"{name}.png", picture)
            _write(target / f"{name}.html", explanation_page(explained, picture).encode())
            pages.append(target / f"{name}.html")
            told.append((pages[-1].name, explained))
            if progress is not None:
                progress(len(pages), len(rows))
        if len(pages) > 1:
            _write(target / INDEX, explanation_index(config.name, told).encode())
    return pages


def _require_ours(target: Path, stems: Sequence[str]) -> None:
    """Raise if something would be written over that is no former explanation."""
    stems = [*stems, Path(INDEX).stem] if len(stems) > 1 else stems
    for stem in stems:
        page, picture = target / f"{stem}.html", target / f"{stem}.png"
        there = [path for path in (page, picture) if path.exists()]
        if there and not is_page_of_ours(page, ""):
            raise CatalogError(
                f"{there[0]} is not known to be an explanation's and would be written over; name"
                " another folder with --out, or move it away"
            )


def _stem(source_id: str) -> str:
    """Return the name of a source's files, without ending: one that a link can have as it is.

    What had to be changed gets a mark of its own, so that no two sources share their files.
    """
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", source_id)[:MAX_STEM]
    if safe == source_id and safe[:1].isalnum() and f"{safe.lower()}.html" != INDEX:
        return safe
    mark = hashlib.sha256(source_id.encode()).hexdigest()[:8]
    return f"{safe.lstrip('.-') or '_'}-{mark}"


def _run_in(out: Path) -> RunConfig:
    """Return the run file that a run left in its output folder, its output being there."""
    path = out / "run.toml"
    if not path.exists():
        raise ConfigError(f"no run in {out} (there is no run.toml); name a run's output folder")
    # The folder may have been moved since.
    return read_run(path).model_copy(update={"out": str(out.resolve())})


def _require_classified(row: Row) -> None:
    """Raise unless a source has a score."""
    status = next(status for status in Status if status.value == row["status"])
    if status is not Status.CLASSIFIED:
        raise CatalogError(
            f"the source {row['source_id']!r} has no score to explain: its status is {status.value}"
            f" ({status.meaning.rstrip('.')}); name one that is classified"
        )


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts stamps as the run did."""

    config: RunConfig
    card: ModelCard
    provenance: Provenance

    def mosaic_of(self, row: Row) -> Mosaic:
        """Return the mosaic of a source, which must be the one that was scored."""
        known = self.provenance.mosaics
        # Of several mosaics, a tile is called MOSAIC.TILE.
        name = row["tile"].rpartition(".")[0] or next(iter(known))
        for store in mosaic_stores(self.config.mosaic, self.config.folder):
            mosaic = Mosaic.open(store)
            if mosaic.name == name:
                if mosaic.digest != known[name]:
                    raise MosaicError(
                        f"the mosaic {mosaic.place} has changed since the run (digest"
                        f" {mosaic.digest[:12]}, not {known[name][:12]}); classify again"
                    )
                return mosaic
        raise MosaicError(f"the run's mosaic {name!r} is not there any more; put it back")

    def cut(self, mosaic: Mosaic, row: Row) -> Stamps:
        """Return the stamp of a source."""
        level = pyramid_level(self.card, mosaic.scale_arcsec, mosaic.n_levels)
        size_px = cut_size_px(self.card, mosaic.scale_arcsec * 2**level)
        return cut_stamps(mosaic, [row["x"]], [row["y"]], size_px, self.card.bands, level)


def _explained(config: RunConfig, rows: Sequence[Row]) -> Iterator[tuple[Explained, bytes]]:
    """Yield what there is to say of each source, and the picture."""
    provenance = read_provenance(config.catalog_path)
    path = resolve_checkpoint(config.checkpoint, config.folder)
    network, card = load_network(path, provenance.checkpoint_digest)
    # A scorer changes its network, so it has one of its own.
    scorer = TorchScorer.load(path, "cpu", expected_digest=provenance.checkpoint_digest)
    cutter = _Cutter(config, card, provenance)
    mosaics: dict[str, Mosaic] = {}
    for row in rows:
        sheet = row["tile"].rpartition(".")[0]
        if sheet not in mosaics:
            mosaics[sheet] = cutter.mosaic_of(row)
        mosaic = mosaics[sheet]
        stamps = cutter.cut(mosaic, row)
        (explanation,) = explain_stamps(network, card, stamps)
        arrows = directions(mosaic, (row["x"], row["y"]))
        scores = scorer.score(stamps)
        explained = Explained(row, card, provenance, explanation, scores, mosaic.name)
        name, says = str(row["source_id"]), score_words(explained)
        yield explained, explanation_figure(explanation, card, arrows, name, says)


def _write(path: Path, content: bytes) -> None:
    """Write a page or a picture."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CatalogError(
            f"cannot write {path}: {error.strerror}; name another folder with --out"
        ) from error
