import hashlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import rcParams

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.parts import write_part
from survey_classifier.catalog.schema import build_schema
from survey_classifier.errors import CatalogError, LostSourcesError, SourcesError
from survey_classifier.model.card import ModelCard, Stretch
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.resnet import ResNet
from survey_classifier.run.config import read_run
from survey_classifier.run.figures import Frame, sky_frame
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.report import report
from survey_classifier.run.task import TileFailure

N = 400
HOSTILE = "<script>alert('x')</script> & \"quotes\""
PRIOR = 0.08
SEED = 5


class Reader(HTMLParser):
    """Collects what a page shows: its text, its tables by caption, and its pictures."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.pictures, self.text, self.tags = {}, [], [], []
        self._cell = self._caption = self._rows = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption"):
            self._cell = ""

    def handle_data(self, data):
        self.text.append(data)
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag == "caption":
            self._caption, self._cell = self._cell, None
        elif tag in ("td", "th"):
            self._rows[-1].append(self._cell)
            self._cell = None
        elif tag == "table":
            self.tables[self._caption] = [row for row in self._rows if row]

    def table(self, start):
        """Return the rows below the heading of the table whose caption begins so, by name."""
        (rows,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        return {row[0]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "untrained.safetensors"
    card = ModelCard(
        name="untrained",
        description=f"Nothing at all {HOSTILE}",
        architecture="resnet15",
        width=2,
        classes=("nonmember", "member"),
        bands=("g",),
        unit="nJy",
        stamp_arcsec=10.0,
        stamp_px=32,
        stretch={"g": Stretch(softening=1.0, maximum=100.0)},
        n_views=1,
        temperature=1.25,
        prevalence={"nonmember": 0.75, "member": 0.25},
        label_mapping={},
        data=(),
        metrics={"auc": 0.875},
        code_version="0",
    )
    save_checkpoint(path, ResNet("resnet15", 2, 2, 2), card)
    return path


def columns(schema, n=N, ra0=50.0):
    """Random columns of a catalog in which one source in five is not classified."""
    rng = np.random.default_rng(SEED)
    found = {}
    for column in schema:
        if column.dtype == "string":
            found[column.name] = np.full(n, "", dtype=object)
        elif column.dtype.startswith("float"):
            found[column.name] = np.full(n, np.nan, dtype=column.dtype)
        else:
            found[column.name] = np.zeros(n, dtype=column.dtype)
    number = np.arange(n)
    found["source_id"] = np.array([f"S{row}" for row in number], dtype=object)
    found["ra"] = (ra0 + rng.uniform(-0.2, 0.2, n)) % 360
    found["dec"] = 41.5 + rng.uniform(-0.2, 0.2, n)
    found["status"] = np.select(
        [number % 10 == 0, number % 10 == 5], ["off_mosaic", "no_position"], "classified"
    ).astype(object)
    found["ra"][number % 10 == 5] = np.nan
    scored = found["status"] == "classified"
    found["p_image"] = np.where(scored, rng.beta(0.5, 0.5, n), np.nan)
    found["p_member"] = np.where(scored, rng.beta(0.5, 0.7, n), np.nan)
    found["p_nonmember"] = 1 - found["p_member"]
    found["prior_member"] = np.full(n, PRIOR)
    found["z_class"] = rng.choice(np.array(["", "cluster", "background", "star"], object), n)
    for name in schema.names:
        if name.startswith("mag_"):
            found[name] = np.where(number % 7 == 0, np.nan, rng.uniform(15, 24, n))
    if "mag_z" in found:
        found["color_gz"] = found["mag_g"] - found["mag_z"]
    return found


class Run:
    """A finished run on disk: its catalog, run file and receipt."""

    def __init__(self, folder, checkpoint, bands=("g", "r", "z"), truth="", n=N, ra0=50.0):
        self.folder = folder
        schema = build_schema(("nonmember", "member"), bands)
        self.columns = columns(schema, n, ra0)
        run_file = folder / "run.toml"
        run_file.write_text(
            f"""
            name = "field"
            out = "out"
            [mosaic]
            store = "field.zarr"
            [sources]
            path = "sources <b>.csv"
            [model]
            checkpoint = "{checkpoint}"
            {truth}
            """,
            encoding="utf-8",
        )
        self.config = read_run(run_file)
        provenance = Provenance(
            hashlib.sha256(b"run").hexdigest(), "field", "untrained", "f" * 64,
            HOSTILE, {"numpy": HOSTILE}, "2026-01-02T03:04:05+00:00",
        )  # fmt: skip
        write_part(self.config.catalog_path, schema.to_arrow(self.columns), schema, provenance)
        status, counts = np.unique(self.columns["status"].astype(str), return_counts=True)
        by_status = dict(zip(status.tolist(), counts.tolist(), strict=True))
        n_classified = by_status.pop("classified", 0)
        self.receipt = RunReceipt(
            "field", provenance.fingerprint, "", n, n_classified, by_status, 4, 1, (), 320,
            12.5, 3.0, 8.0,
        )  # fmt: skip

    def page(self, receipt=None):
        path = report(self.config.catalog_path, self.config, receipt or self.receipt)
        return Reader(path.read_text(encoding="utf-8"))


TRUTH = '[truth]\npath = "truth.csv"\nsimulated = true\n'


def write_truth(folder, is_member, ids=None):
    """Write a truth table of S0, S1 ..., blank where is_member is None."""
    words = {True: "member", False: "nonmember", None: ""}
    ids = [f"S{row}" for row in range(len(is_member))] if ids is None else ids
    lines = [f"{name},{words[truth]}" for name, truth in zip(ids, is_member, strict=True)]
    (folder / "truth.csv").write_text("source_id,label\n" + "\n".join(lines), encoding="utf-8")


def test_numbers_are_those_of_the_catalog(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint)
    shown = run.page()
    status, p = run.columns["status"], run.columns["p_member"]
    counts = {
        name: int(row[0]) for name, row in shown.table("What became").items() if row[0].isdigit()
    }
    assert counts == {"classified": 320, "no_position": 40, "off_mosaic": 40, "all": N}
    cards = "".join(shown.text)
    scored = p[status == "classified"].astype(np.float32)
    assert f"{int((scored >= 0.5).sum())}members at" in cards
    assert f"{scored.sum(dtype=np.float64):,.1f}members expected" in cards
    assert "400 sources = 320 classified + 40 no_position + 40 off_mosaic" in cards
    by_class = shown.table("Sources with a redshift")
    for name in ("cluster", "background", "star"):
        here = (run.columns["z_class"] == name) & (status == "classified")
        assert by_class[name][:2] == [str(here.sum()), str((p[here] >= 0.5).sum())]
    facts = shown.table("The run") | shown.table("The network")
    assert facts["fingerprint"] == [run.receipt.fingerprint]
    assert facts["share of members by it"] == [str(PRIOR)]
    assert facts["temperature"] == ["1.25"]
    assert shown.table("Figures from the network's card")["auc"] == ["0.875"]
    assert len(shown.pictures) == 4


def test_comparison_with_the_truth(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint, truth=TRUTH)
    rng = np.random.default_rng(8)
    p = run.columns["p_member"].astype(np.float32)
    truth = [None if row < 30 else bool(rng.random() < 0.3) for row in range(N)]
    write_truth(tmp_path, truth)
    shown = run.page()
    used = [row for row in range(30, N) if np.isfinite(p[row])]
    pairs = [(float(p[row]), truth[row]) for row in used]
    hit = sum(q >= 0.5 and t for q, t in pairs)
    missed = sum(q < 0.5 and t for q, t in pairs)
    false = sum(q >= 0.5 and not t for q, t in pairs)
    rejected = sum(q < 0.5 and not t for q, t in pairs)
    matrix = shown.table("Confusion matrix")
    assert matrix["member"] == [str(hit), str(missed)]
    assert matrix["nonmember"] == [str(false), str(rejected)]
    members, others = ([q for q, t in pairs if t is which] for which in (True, False))
    auc = np.mean([(a > b) + 0.5 * (a == b) for a in members for b in others])
    merit = {name: row[0] for name, row in shown.table("Figures of merit").items()}
    assert merit["AUC"] == f"{auc:.4g}"
    assert merit["precision"] == f"{hit / (hit + false):.4g}"
    assert merit["recall"] == f"{hit / (hit + missed):.4g}"
    assert merit["accuracy"] == f"{(hit + rejected) / len(used):.4g}"
    assert merit["Brier score"] == f"{np.mean([(q - t) ** 2 for q, t in pairs]):.4g}"
    n_lost = sum(truth[row] is True for row in range(N) if np.isnan(p[row]))
    text = "".join(shown.text)
    assert f"{len(used)} classified sources of known class" in text
    assert f"{n_lost} members that were not classified" in text


@pytest.mark.parametrize("simulated", [True, False])
def test_says_simulated_beside_each_figure_that_is(tmp_path, checkpoint, simulated):
    truth = TRUTH.replace("true", "true" if simulated else "false")
    run = Run(tmp_path, checkpoint, truth=truth)
    write_truth(tmp_path, [row % 3 == 0 for row in range(N)])
    shown = run.page()
    on_truth = [caption for caption in shown.tables if "truth" in caption]
    assert len(on_truth) == 2
    assert all(("simulated" in caption) == simulated for caption in on_truth)
    assert ("simulated field" in "".join(shown.text)) == simulated


def test_nothing_hostile_gets_through_and_nothing_is_loaded(tmp_path, checkpoint):
    failure = TileFailure("r000-c001", "cut", "box", HOSTILE)
    run = Run(tmp_path, checkpoint)
    shown = run.page(replace(run.receipt, failures=(failure,)))
    assert shown.table("Tiles that failed")["r000-c001"] == ["cut", HOSTILE]
    assert shown.table("The network")["description"] == [f"Nothing at all {HOSTILE}"]
    assert shown.table("The run")["source list"] == ["sources <b>.csv"]
    tags = {tag for tag, _ in shown.tags}
    assert not tags & {"script", "link", "iframe", "b>", "object"}
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in shown.pictures)
    assert not any("href" in attrs for _, attrs in shown.tags)


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("g", "r", "z"), "Dereddened color against magnitude"),
        (("V",), "p_member against mag_V"),
        (("g", "r"), "none in r, z"),
        ((), "none in g, r, z"),
    ],
)
def test_magnitudes_that_are_missing_are_named(tmp_path, checkpoint, bands, expected):
    text = "".join(Run(tmp_path, checkpoint, bands=bands).page().text)
    assert expected in text
    assert ("No color-magnitude diagram" in text) == (bands != ("g", "r", "z"))


@pytest.mark.parametrize("truth", [TRUTH, ""])
def test_no_source_classified(tmp_path, checkpoint, truth, monkeypatch):
    original = columns

    def unscored(*args):
        found = original(*args)
        found["status"][:] = "no_data"
        for name in ("p_image", "p_member", "p_nonmember"):
            found[name][:] = np.nan
        return found

    monkeypatch.setitem(globals(), "columns", unscored)
    write_truth(tmp_path, [row % 3 == 0 for row in range(N)])
    shown = Run(tmp_path, checkpoint, truth=truth).page()
    assert shown.table("What became")["classified"][0] == "0"
    if truth:
        assert shown.table("Figures of merit")["precision"] == ["undefined"]


def test_a_receipt_of_other_length_is_refused(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint)
    with pytest.raises(LostSourcesError, match=r"400 rows for 401 sources"):
        run.page(replace(run.receipt, n_in=401))
    assert not run.config.report_path.exists()


def test_unusable_truth(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint, truth=TRUTH)
    with pytest.raises(SourcesError, match=r"no table .*truth\.csv"):
        run.page()
    write_truth(tmp_path, [True, False], ["S1", "S1"])
    with pytest.raises(SourcesError, match=r"'S1' more than once"):
        run.page()
    write_truth(tmp_path, [False, False])
    with pytest.raises(SourcesError, match=r"no 'label' .* is 'member'; it holds nonmember"):
        run.page()


def test_no_catalog(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint)
    run.config.catalog_path.write_bytes(b"PAR1 no more")
    with pytest.raises(CatalogError, match="cannot be read"):
        run.page()


def test_sky_across_zero_stays_small(tmp_path, checkpoint):
    run = Run(tmp_path, checkpoint, ra0=0.0)
    ra = run.columns["ra"]
    frame = sky_frame(ra, run.columns["dec"])
    assert frame.x[1] - frame.x[0] < 0.5
    known = np.isfinite(ra)
    np.testing.assert_array_equal(frame.holds_sky(ra, run.columns["dec"]), known)
    assert "without a position: 40" in "".join(run.page().text)


def test_frame_of_nothing():
    assert sky_frame(np.array([np.nan]), np.array([np.nan])) == Frame((0, 360), (-90, 90))


def test_drawing_leaves_settings_alone(tmp_path, checkpoint):
    before = dict(rcParams)
    Run(tmp_path, checkpoint).page()
    assert dict(rcParams) == before
