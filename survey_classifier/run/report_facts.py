"""What a report says of its run: the run, its evidence and its network, as they are on record.

Owns that section of the page. Does not own the others (``report``) nor HTML (``page``).
"""

from survey_classifier.membership.evidence import PIECES
from survey_classifier.run import page
from survey_classifier.run.page import Html
from survey_classifier.run.result import Result

__all__ = ["run_section"]

N_NAMED = 5
"""Mosaics that are named."""


def run_section(result: Result) -> Html:
    """Return what was run, with what: the last section of a report.

    Parameters
    ----------
    result
        The run and its catalog.
    """
    card, receipt, origin = result.card, result.receipt, result.provenance
    left_out = result.config.membership.without
    run = page.facts(
        "The run",
        [
            ("name", result.config.name),
            ("fingerprint", origin.fingerprint),
            ("begun", origin.created),
            ("source list", result.config.sources.path or result.config.detected_path.name),
            _mosaic_fact(result),
            ("tiles", f"{receipt.n_tiles} ({receipt.n_tiles_resumed} done before this call)"),
            ("stamps scored by this call", receipt.n_stamps),
            ("time for the tiles", f"{receipt.tiles_seconds:.1f} s"),
            ("evidence", ", ".join(piece for piece in PIECES if piece not in left_out)),
            ("prior", result.config.membership.prior or "perseus"),
            ("share of members by it", result.prior),
            ("versions", ", ".join(f"{k} {v}" for k, v in origin.versions.items())),
        ],
    )
    network = page.facts(
        "The network",
        [
            ("checkpoint", origin.checkpoint),
            ("digest", origin.checkpoint_digest),
            ("description", card.description),
            ("architecture", f"{card.architecture}, width {card.width}"),
            ("bands", ", ".join(card.bands)),
            ("stamp", f"{card.stamp_arcsec:g} arcsec, {card.stamp_px} px, {card.unit}"),
            ("views averaged", card.n_views),
            ("temperature", card.temperature),
        ],
    )
    metrics = page.table(
        "Figures from the network's card (its training, not this field)",
        ("figure", "value"),
        sorted(card.metrics.items()),
    )
    return page.section("Run and network", run, network, metrics)


def _mosaic_fact(result: Result) -> tuple[str, str]:
    """Return the mosaic of the run, or how many there are and the first of them."""
    names = list(result.provenance.mosaics)
    if len(names) == 1:
        return "mosaic", names[0]
    shown = ", ".join(names[:N_NAMED])
    return "mosaics", f"{len(names)}: {shown}{', ...' if len(names) > N_NAMED else ''}"
