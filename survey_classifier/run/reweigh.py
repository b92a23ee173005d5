"""Weighing the evidence of a finished catalog again, without a pixel.

Owns which file is weighed, what a user may change, and what the new catalog says of it. Does not
own the arithmetic (``membership.weighing``), the passing of rows (``catalog.rewrite``), nor tables
that are no catalogs of ours (``reweigh_table``).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from survey_classifier.catalog.read import column_names, read_provenance
from survey_classifier.catalog.rewrite import read_row_groups, rewrite_catalog
from survey_classifier.errors import CatalogError, ConfigError, InputError
from survey_classifier.files import write_text
from survey_classifier.membership.evidence import PIECES, Weighed
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.flags import Flag
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.weighing import OBSERVED_COLUMNS, Weighing
from survey_classifier.problems import nearest_name
from survey_classifier.run.config import read_run
from survey_classifier.run.prior_of_catalog import ESTIMATES, estimated_prior

__all__ = [
    "Changes",
    "Reweighed",
    "catalog_of",
    "new_weighing",
    "reweigh",
    "unwritten",
    "written_prior",
]

Columns = Mapping[str, npt.NDArray[Any]]
NOTHING = "nothing"
"""As a piece to leave out: none."""
_CONDITION = np.int32(Flag.PRIOR_WITHOUT_MAGNITUDE)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is weighed otherwise than before; what is None or empty stays."""

    without: Sequence[str] = ()
    """Pieces of evidence to leave out, instead of those that were; ``nothing`` for none."""
    prior: str | None = None
    """A number, a shipped table's name, a file, ``em`` or ``spectra``."""
    evidence: str | None = None
    """A shipped model's name or a file."""


@dataclass(frozen=True, slots=True)
class Reweighed:
    """What came out."""

    path: Path
    n_rows: int
    prior_path: Path | None
    """The prior that was estimated, if one was."""
    prior_source: str
    """Where the prior comes from, and for which magnitudes."""


def reweigh(
    where: Path,
    changes: Changes,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Reweighed:
    """Weigh the evidence of a catalog again and write it as another catalog.

    The result is what the run would have given with these settings; but the evidence file of
    another network leaves what the image is worth as it was.

    Parameters
    ----------
    where
        Output folder of a run, or its catalog.
    changes
        What is weighed otherwise.
    out
        The new catalog; by default beside the old one, ``NAME-reweighed.parquet``.
    overwrite
        Whether a file that is there may be replaced.
    progress
        Called with the row groups that are done and all.

    Raises
    ------
    CatalogError
        If the catalog cannot be read, does not say how it was weighed, or the new one cannot be
        written or is there.
    ConfigError
        If there is no such evidence or prior.
    RunError
        If a prior cannot be estimated.
    """
    path = catalog_of(where)
    if path.suffix != ".parquet":
        raise InputError(
            f"{path} is no catalog of a run: give its .parquet or output folder, or say by "
            "--columns what its columns are"
        )
    if out is not None and out.suffix != ".parquet":
        raise InputError(f"a catalog is written as Parquet: call it {out.with_suffix('.parquet')}")
    target = unwritten(out or path.with_name(f"{path.stem}-reweighed.parquet"), path, overwrite)
    provenance = read_provenance(path)
    if not provenance.evidence:
        raise CatalogError(
            f"{path} does not say how its evidence was weighed; it is of an older version: "
            "classify again"
        )
    weighing = new_weighing(
        Weighing.of_statement(provenance.evidence),
        changes,
        lambda: read_row_groups(path, OBSERVED_COLUMNS),
        provenance.checkpoint_digest,
    )
    others = _other_classes(column_names(path))
    text = weighing.statement
    fingerprint = hashlib.sha256(f"{provenance.fingerprint} {text}".encode()).hexdigest()
    names = (*OBSERVED_COLUMNS, *(f"p_image_{name}" for name in others))
    n_rows = rewrite_catalog(
        path,
        target,
        replace(provenance, evidence=text, fingerprint=fingerprint),
        names,
        lambda columns: _columns(columns, weighing.weigh(columns), others),
        progress,
    )
    written = written_prior(target, changes, weighing)
    return Reweighed(target, n_rows, written, weighing.prior.source)


def catalog_of(where: Path) -> Path:
    """Return the catalog of a run's output folder, or the file itself.

    Raises
    ------
    InputError
        If there is none.
    """
    if where.is_file():
        return where
    run = where / "run.toml"
    if not run.exists():
        raise InputError(
            f"no run in {where} (there is no {run.name}); name an output folder or a file"
        )
    path = read_run(run).catalog_path
    if not path.is_file():
        raise CatalogError(f"no catalog {path}: publish the run first")
    return path


def unwritten(target: Path, source: Path, overwrite: bool) -> Path:
    """Return a path that may be written.

    Raises
    ------
    CatalogError
        If it is the source, or is there and may not be replaced.
    """
    if target.exists() and target.resolve() == source.resolve():
        raise CatalogError(f"{target} is the catalog itself: give another --out")
    if target.exists() and not overwrite:
        raise CatalogError(f"{target} is there already: give another --out, or --overwrite")
    return target


def new_weighing(
    old: Weighing,
    changes: Changes,
    groups: Callable[[], Iterable[Columns]],
    checkpoint_digest: str = "",
) -> Weighing:
    """Return a weighing with the changes made.

    Parameters
    ----------
    old
        The weighing so far.
    changes
        What is to be otherwise.
    groups
        Returns the columns some rows at a time, for a prior that is estimated.
    checkpoint_digest
        Of the network that gave the scores, '' where that is not known; a model of another one
        leaves the image's evidence as it was.

    Raises
    ------
    ConfigError
        If there is no such evidence or prior.
    """
    update: dict[str, Any] = {}
    if changes.without:
        known = {*PIECES, NOTHING}
        for name in changes.without:
            if name not in known:
                raise ConfigError(f"no evidence {name!r}; {nearest_name(name, known)}")
        update["without"] = tuple(name for name in changes.without if name != NOTHING)
    if changes.evidence is not None:
        model = EvidenceModel.read(changes.evidence)
        if checkpoint_digest and not model.image.is_of(checkpoint_digest):
            # It is of another network; what a score of this one is worth is known already.
            model = model.model_copy(update={"image": old.evidence.image})
        update["evidence"] = model
    weighing = old.model_copy(update=update)
    if changes.prior is None:
        return weighing
    if changes.prior in ESTIMATES:
        prior = estimated_prior(changes.prior, groups(), weighing)
    else:
        prior = _given_prior(changes.prior, weighing.prior)
    return weighing.model_copy(update={"prior": prior})


def _given_prior(text: str, old: PriorTable) -> PriorTable:
    """Return the prior that a number, a name or a file means; with a number stars stay."""
    try:
        share = float(text)
    except ValueError:
        return PriorTable.read(text)
    return PriorTable.constant(share, old)


def _other_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes besides member and star whose posterior a catalog holds."""
    classes = (name.removeprefix("p_") for name in names if name.startswith("p_"))
    known = ("member", "star", "image")
    return tuple(name for name in classes if name not in known and not name.startswith("image_"))


def _columns(columns: Columns, weighed: Weighed, others: Sequence[str]) -> Columns:
    """Return all columns that follow from the weighing."""
    flags = (columns["flags"] & ~_CONDITION) | weighed.flags
    network = [columns[f"p_image_{name}"] for name in others if f"p_image_{name}" in columns]
    shared = weighed.shared(network or [np.ones(len(flags))], "p_image_star" in columns)
    return {
        **weighed.columns,
        **{f"p_{name}": part for name, part in zip(others, shared, strict=True)},
        "flags": flags,
    }


def written_prior(target: Path, changes: Changes, weighing: Weighing) -> Path | None:
    """Write a prior that was estimated beside a new table, so that a run can use it.

    Parameters
    ----------
    target
        The new table.
    changes
        Say whether the prior was estimated.
    weighing
        Holds it.

    Returns
    -------
    Path or None
        The file; None if the prior is no estimate.
    """
    if changes.prior not in ESTIMATES:
        return None
    path = target.with_name(f"{target.stem}-prior.toml")
    write_text(path, tomli_w.dumps(weighing.prior.model_dump(exclude_defaults=True)))
    return path
