"""The documentation: its links lead somewhere, and what it shows is what the program takes."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from survey_classifier.cli import app
from survey_classifier.training.recipes import read_recipe

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "deploy/**/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
VERB = re.compile(r"(?:^|`)survey-classifier ([a-z][a-z-]*)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made of them."""
    heads = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == kind]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    """A page that nothing names is a page that nobody reads."""
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")} <= linked


def test_verbs_that_are_shown_are_there_and_all_are_shown() -> None:
    shown = {verb for page in PAGES for verb in VERB.findall(page.read_text())}
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert shown == verbs


def test_the_blocks_of_toml_can_be_read() -> None:
    texts = [text for page in PAGES for text in blocks(page, "toml")]
    assert len(texts) >= 3
    for text in texts:
        assert tomllib.loads(text), text


def test_the_five_lines_are_a_recipe(tmp_path: Path) -> None:
    text = next(t for t in blocks(ROOT / "docs/training.md", "toml") if "extends" in t)
    assert len(text.strip().splitlines()) == 5
    (tmp_path / "mine.toml").write_text(text)
    recipe = read_recipe(tmp_path / "mine.toml")
    assert recipe.name == "mine"
    assert [Path(data.table).name for data in recipe.data] == ["mine.csv"]
