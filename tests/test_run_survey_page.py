"""The figures and words of the Survey page, without a server."""

import math
from html.parser import HTMLParser

import pytest
from bokeh.document import Document

from survey_classifier.run.survey_messages import TileState
from survey_classifier.run.survey_page import SurveyPage
from survey_classifier.run.survey_state import SurveyState
from survey_classifier.run.survey_words import COLORS, headline_html, legend_html


def plan(ra=49.95, dec=41.5, name="west", fingerprint="abc"):
    step = 0.1
    tiles = [
        {
            "tile": f"t{i}",
            "corners": [
                [(ra - i * step) % 360, dec],
                [(ra - (i + 1) * step) % 360, dec],
                [(ra - (i + 1) * step) % 360, dec + step],
                [(ra - i * step) % 360, dec + step],
            ],
            "n_sources": 5,
            "done": False,
        }
        for i in range(4)
    ]
    return {"name": name, "fingerprint": fingerprint, "n_sources": 20, "tiles": tiles}


def done(tile, time=110.0):
    return {
        "tile": tile,
        "state": "done",
        "time": time,
        "n_sources": 5,
        "n_by_status": {"classified": 4, "off_mosaic": 1},
        "n_stamps": 4,
        "score_seconds": 3.0,
        "finish_seconds": 4.0,
        "p_member_histogram": [4] + [0] * 19,
    }


def page_of(state, now=120.0):
    page = SurveyPage(lambda: state.snapshot(now))
    Document().add_root(page.root)
    return page


def source_with(page, column):
    sources = [model for model in page.root.references() if column in getattr(model, "data", {})]
    assert len(sources) == 1
    return sources[0]


class Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words, self.tags = [], []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002 - the base class calls it so
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data.strip())


def text_of(html):
    parser = Text()
    parser.feed(html)
    return parser


def test_the_map_shows_each_tile_in_the_color_of_its_state_and_follows_it():
    state = SurveyState()
    page = page_of(state)
    assert source_with(page, "tile").data["tile"] == []
    state.apply_plan(plan())
    state.apply_tile(done("t0"))
    state.apply_tile({"tile": "t1", "state": "failed", "time": 111.0, "reason": "disk full"})
    page.update()
    tiles = source_with(page, "tile").data
    assert tiles["state"] == ["done", "failed", "pending", "pending"]
    assert tiles["color"] == [COLORS[TileState(word)] for word in tiles["state"]]
    assert tiles["hatch"] == [" ", "x", " ", " "]
    outlines = tiles["ra"]
    state.apply_tile({"tile": "t1", "state": "cutting", "time": 112.0})
    page.update()
    tiles = source_with(page, "tile").data
    assert tiles["state"] == ["done", "cutting", "pending", "pending"]
    assert tiles["reason"] == ["", "", "", ""]
    assert tiles["ra"] is outlines


def test_another_run_draws_another_map():
    state = SurveyState()
    state.apply_plan(plan())
    page = page_of(state)
    state.apply_plan(plan(ra=10.0, dec=-60.05, fingerprint="def") | {"n_sources": 20})
    page.update()
    assert max(source_with(page, "tile").data["ra"][0]) == pytest.approx(10.0)
    sky = next(m for m in page.root.references() if getattr(m, "match_aspect", False))
    assert sky.aspect_scale == pytest.approx(math.cos(math.radians(-60)))
    assert sky.x_range.flipped


def test_a_field_across_ra_0_is_not_torn_apart():
    state = SurveyState()
    state.apply_plan(plan(ra=0.15))
    outlines = source_with(page_of(state), "tile").data["ra"]
    ra = [corner for outline in outlines for corner in outline]
    assert max(ra) - min(ra) == pytest.approx(0.4)


def test_a_tile_off_the_sky_has_no_outline_but_is_counted():
    message = plan()
    message["tiles"][2]["corners"][0] = [math.nan, math.nan]
    state = SurveyState()
    state.apply_plan(message)
    page = page_of(state)
    assert source_with(page, "tile").data["ra"][2] == []
    assert "4" in text_of(legend_html(state.tiles_by_state())).words


def test_rejects_and_histogram_show_the_counts():
    state = SurveyState()
    state.apply_plan(plan())
    state.apply_tile(done("t0"))
    state.apply_tile({"tile": "t1", "state": "failed", "time": 111.0, "reason": "disk full"})
    page = page_of(state)
    rejects = source_with(page, "status").data
    counts = dict(zip(rejects["status"], rejects["count"], strict=True))
    assert counts["off_mosaic"] == 1
    assert counts["tile_failed"] == 5
    assert "classified" not in counts
    bars = [m.data["top"] for m in page.root.references() if "top" in getattr(m, "data", {})]
    assert [4] + [0] * 19 in [list(top) for top in bars]


@pytest.mark.parametrize(
    ("seconds", "unit", "length"),
    [(100, "seconds", 100), (6000, "minutes", 100), (100 * 3600, "hours", 100)],
)
def test_rates_are_drawn_in_a_unit_that_suits_the_run(seconds, unit, length):
    state = SurveyState()
    state.apply_plan(plan())
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 1000.0})
    state.apply_tile(done("t0", 1000.0 + seconds))
    page = page_of(state)
    labels = [getattr(model, "axis_label", None) for model in page.root.references()]
    assert f"{unit} since the first tile" in labels
    rights = [m.data["right"] for m in page.root.references() if "right" in getattr(m, "data", {})]
    assert any(right[-1] == pytest.approx(length, rel=0.02) for right in rights if right)


def test_the_headline_states_the_figures_and_escapes_the_name():
    state = SurveyState()
    state.apply_plan(plan(name="<script>alert(1)</script>"))
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 100.0})
    state.apply_tile(done("t0"))
    parsed = text_of(headline_html(state.snapshot(now=120.0)))
    assert "script" not in parsed.tags
    assert "<script>alert(1)</script>" in parsed.words
    # 5 of 20 sources in 20 s; the scorer worked 3 s of them.
    assert parsed.words[1:5] == ["5", "of 20 sources (25 %)", "1 min 0 s", "time left"]
    assert parsed.words[parsed.words.index("scorer at work") - 1] == "15 %"


def test_the_headline_without_a_run_says_what_to_do():
    assert "survey-classifier classify" in headline_html(SurveyState().snapshot(now=0.0))
