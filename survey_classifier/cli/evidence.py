"""The verbs ``reweigh`` and ``purity``: what a finished catalog says otherwise, and of itself.

Owns their options and what is printed. Does not own the work (``run.reweigh``, ``run.purity``).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from survey_classifier.cli.terminal import app, bars

if TYPE_CHECKING:
    from survey_classifier.membership.weighing import Weighing
    from survey_classifier.run.purity_table import PurityTable
    from survey_classifier.run.reweigh import Changes, Reweighed
    from survey_classifier.run.truth import Truth

__all__ = ["purity", "reweigh"]

WIDEST = 400
"""Columns of characters that a printed table may have."""
Where = Annotated[
    Path, typer.Argument(metavar="OUT|FILE", help="Output folder of a run, or a catalog.")
]


@app.command()
def reweigh(
    where: Where,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Evidence to leave out: image, color, redshift, position, star; or nothing. "
            "May be given several times; by default what the run left out."
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="A share such as 0.05, a table's name such as perseus, a FILE.toml, or an "
            "estimate from the catalog itself: em (by its evidence) or spectra."
        ),
    ] = None,
    evidence: Annotated[
        str | None, typer.Option(help="An evidence model's name such as perseus, or a FILE.toml.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The new file; NAME-reweighed beside the old one by default."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it is there.")] = (
        False
    ),
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=COLUMN,...",
            help="For a table that is no catalog of ours: which column is what, such as "
            "p_image=score,ra=RA,dec=DEC,mag.g=g,mag.r=r,mag.z=z,ebv=EBV.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The network that its scores are of, a shipped name or a file; perseus. A "
            "score holds the share of members that its network was trained with."
        ),
    ] = None,
    system: Annotated[str, typer.Option(help="Its photometric system.")] = "sdss",
    center: Annotated[
        str | None, typer.Option(metavar="RA,DEC", help="Its cluster's center; that of Perseus.")
    ] = None,
    z_cluster: Annotated[float | None, typer.Option(help="Its cluster's redshift.")] = None,
    sigma: Annotated[
        float | None, typer.Option(metavar="KM/S", help="Its cluster's velocity dispersion.")
    ] = None,
) -> None:
    """Weigh a catalog's evidence again, with other evidence or another prior; no pixel is read.

    Example: survey-classifier reweigh out/perseus-west --without color --prior 0.05
    """
    from survey_classifier.run.reweigh import Changes

    changes = Changes(tuple(without or ()), prior, evidence)
    foreign = _Foreign(checkpoint, system, center, z_cluster, sigma)
    if columns is None:
        done = _reweigh_catalog(where, changes, foreign, out, overwrite)
    else:
        done = _reweigh_table(where, columns, changes, foreign, out, overwrite)
    if done.prior_path is not None:
        typer.echo(f"prior:   {done.prior_path} ({done.prior_source})")
    typer.echo(f"catalog: {done.path}")
    typer.echo(f"{done.n_rows} sources weighed")


class _Foreign(NamedTuple):
    """What is said of a table that is no catalog of ours."""

    checkpoint: str | None = None
    system: str = "sdss"
    center: str | None = None
    z_cluster: float | None = None
    sigma: float | None = None


def _reweigh_catalog(
    where: Path, changes: "Changes", foreign: _Foreign, out: Path | None, overwrite: bool
) -> "Reweighed":
    """Weigh a catalog of ours again."""
    from survey_classifier.run.reweigh import reweigh as run_reweigh

    if foreign != _Foreign():
        raise typer.BadParameter(
            "a catalog of ours says these itself; they go with --columns",
            param_hint="--checkpoint, --system, --center, --z-cluster, --sigma",
        )
    with bars() as shown:
        return run_reweigh(
            where, changes, out=out, overwrite=overwrite, progress=shown.of("reweigh")
        )


def _reweigh_table(
    where: Path,
    columns: list[str],
    changes: "Changes",
    foreign: _Foreign,
    out: Path | None,
    overwrite: bool,
) -> "Reweighed":
    """Weigh any other table."""
    from survey_classifier.run.reweigh_table import read_mapping, reweigh_table

    cluster = (foreign.center, foreign.z_cluster, foreign.sigma)
    if cluster != (None, None, None) and changes.prior is None:
        raise typer.BadParameter(
            "another cluster than Perseus has another prior", param_hint="--prior"
        )
    weighing = _weighing(*cluster, foreign.checkpoint or "perseus")
    if foreign.checkpoint is None:
        typer.echo("scores are taken for those of perseus; --checkpoint names another")
    mapping = read_mapping(columns)
    if "ebv" not in mapping and any(what.startswith("mag.") for what in mapping):
        typer.echo("magnitudes are taken as free of extinction; ebv=COLUMN says that of others")
    return reweigh_table(
        where, mapping, weighing, changes, system=foreign.system, out=out, overwrite=overwrite
    )


@app.command()
def purity(
    where: Where,
    cut: Annotated[float, typer.Option(help="Least p_member that is selected.")],
    by: Annotated[
        str, typer.Option(help="Groups by magnitude, region, or both: magnitude,region.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write the table: .csv, .md or .parquet.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="A table of true classes: what is measured stands beside.")
    ] = None,
    truth_columns: Annotated[
        str,
        typer.Option(metavar="ID,LABEL,MEMBER", help="Its columns, and the label of a member."),
    ] = "source_id,label,member",
) -> None:
    """Say how pure and complete a cut in p_member is, with intervals of 95 %.

    Example: survey-classifier purity out/perseus-west --cut 0.8 --by magnitude,region
    """
    from survey_classifier.run.purity import check_table
    from survey_classifier.run.purity import purity as run_purity

    if out is not None:
        check_table(out, where, *([] if truth is None else [truth]))
    table = run_purity(
        where,
        cut,
        tuple(name.strip() for name in by.split(",") if name.strip()),
        _truth(truth, truth_columns),
    )
    _show(table)
    for note in table.notes:
        typer.echo(note)
    if out is not None:
        table.write(out)
        typer.echo(f"table: {out}")


def _weighing(
    center: str | None, z_cluster: float | None, sigma: float | None, checkpoint: str
) -> "Weighing":
    """Return how the evidence of a foreign table is weighed."""
    from survey_classifier.membership.evidence_model import EvidenceModel
    from survey_classifier.membership.perseus import CENTER_DEG
    from survey_classifier.membership.priors import PriorTable
    from survey_classifier.membership.redshift import RedshiftCuts
    from survey_classifier.membership.weighing import Weighing
    from survey_classifier.model.checkpoint import file_digest, read_card
    from survey_classifier.model.shipped import resolve_checkpoint

    path = resolve_checkpoint(checkpoint, Path.cwd())
    prevalence = read_card(path).prevalence
    # As in a run: of another cluster no color is known to be its members'.
    elsewhere = center is not None or z_cluster is not None
    evidence = EvidenceModel.read("perseus").for_network(file_digest(path), prevalence)
    return Weighing(
        evidence=EvidenceModel.plain(prevalence) if elsewhere else evidence,
        prior=PriorTable.read("perseus"),
        center_deg=CENTER_DEG if center is None else _center(center),
        cuts=RedshiftCuts().moved(z_cluster, sigma),
    )


def _center(text: str) -> tuple[float, float]:
    """Return right ascension and declination from text."""
    try:
        ra, dec = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: give RA,DEC", param_hint="--center") from error
    if not (0 <= ra < 360 and -90 <= dec <= 90):
        raise typer.BadParameter(
            f"{text!r} is not on the sky: give degrees in 0 <= ra < 360, -90 <= dec <= 90",
            param_hint="--center",
        )
    return ra, dec


def _truth(path: Path | None, columns: str) -> "Truth | None":
    """Return the truth that was named, if any."""
    if path is None:
        return None
    from survey_classifier.run.config import TruthSettings
    from survey_classifier.run.truth import Truth

    parts = [part.strip() for part in columns.split(",")]
    if len(parts) != 3:
        raise typer.BadParameter(f"{columns!r}: give ID,LABEL,MEMBER", param_hint="--truth-columns")
    settings = TruthSettings(path=str(path), id=parts[0], label=parts[1], member=parts[2])
    return Truth.of_table(path, settings)


def _show(table: "PurityTable") -> None:
    """Print the table."""
    has_truth = table.groups[0].measured is not None
    shown = Table(title=f"p_member >= {table.cut:g}", box=None, pad_edge=False)
    headings = ["magnitude", "region", "sources", "selected", "members", "purity", "completeness"]
    headings += ["true purity", "true completeness"] if has_truth else []
    for place, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if place < 2 else "right", no_wrap=True)
    for row in table.rows:
        cells = [
            str(row["magnitude"]),
            str(row["region"]),
            f"{row['n']:,}",
            f"{row['n_selected']:,}",
        ]
        cells.append(f"{row['members_selected']:.1f} ± {row['members_selected_err']:.1f}")
        prefixes = ("", "truth_") if has_truth else ("",)
        for prefix in prefixes:
            cells += [_share(row, f"{prefix}purity"), _share(row, f"{prefix}completeness")]
        shown.add_row(*cells)
    # As wide as it is: a figure that is cut off in a file or a pipe is lost.
    width = Console(width=WIDEST).measure(shown).maximum
    Console(width=width, soft_wrap=True).print(shown)
    if table.n_unclassified:
        typer.echo(f"{table.n_unclassified} sources without p_member are in no figure")


def _share(row: dict[str, str | float], name: str) -> str:
    """Return a share with its interval."""
    value = row[name]
    if value != value:  # unknown
        return "-"
    return f"{value:.3f} ({row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f})"
