"""What is learned of a batch, how often an object is shown, and the fits that one network takes."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ConfigError
from survey_classifier.model.checkpoint import (
    file_digest,
    load_network,
    read_card,
    save_checkpoint,
)
from survey_classifier.training import fit, judgment
from survey_classifier.training.evaluate import score_rows
from survey_classifier.training.fit import train
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.lessons import (
    LIKENESS_SCALE,
    from_labels,
    from_teachers,
    from_views,
    robust_loss,
)
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.samples import Samples
from tests.labeled_field import RECIPE, make_field

EPOCHS = 2
LOGITS = st.lists(
    st.tuples(*[st.floats(-8, 8)] * 3, st.integers(0, 2)), min_size=1, max_size=9
)  # fmt: skip


def batch(rows: list[tuple[float, float, float, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.tensor([row[:3] for row in rows], dtype=torch.float64, requires_grad=True)
    return logits, torch.tensor([row[3] for row in rows])


@given(LOGITS, st.floats(0.01, 1))
def test_the_robust_loss_is_its_formula(
    rows: list[tuple[float, float, float, int]], q: float
) -> None:
    logits, label = batch(rows)
    want = 0.0
    for *each, k in rows:
        p = math.exp(each[k]) / sum(map(math.exp, each))
        want += (1 - p**q) / q
    assert robust_loss(logits, label, q).item() == pytest.approx(want, rel=1e-9, abs=1e-12)


@given(LOGITS)
def test_the_limits_of_the_robust_loss(rows: list[tuple[float, float, float, int]]) -> None:
    logits, label = batch(rows)
    entropy = F.cross_entropy(logits, label, reduction="sum")
    torch.testing.assert_close(robust_loss(logits, label, 1e-9), entropy, rtol=1e-6, atol=1e-9)
    p = logits.softmax(dim=1)[torch.arange(len(label)), label]
    torch.testing.assert_close(robust_loss(logits, label, 1.0), (1 - p).sum())


def test_absurd_labels_pull_less_by_the_power_of_their_probability() -> None:
    logits, label = batch([(0, 6, 0, 0), (1, 0, 0, 0), (2, -1, 3, 1)])
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, label, reduction="sum"), logits)
    (robust,) = torch.autograd.grad(robust_loss(logits, label, 0.7), logits)
    p = logits.detach().softmax(dim=1)[torch.arange(3), label]
    torch.testing.assert_close(robust, plain * p[:, None] ** 0.7)


def test_the_settings_say_the_loss_of_labels() -> None:
    x, label = batch([(0, 6, 0, 0), (1, 0, 0, 2)])

    def loss(**keys: float) -> float:
        return from_labels(lambda x: x, lambda: (x, label), FitSettings(**keys)).item()

    log_p = x.detach().log_softmax(dim=1)
    own = -log_p[torch.arange(2), label].sum().item()
    assert loss() == pytest.approx(own)
    smoothed = 0.9 * own - 0.1 * log_p.mean(dim=1).sum().item()
    assert loss(label_smoothing=0.1) == pytest.approx(smoothed)
    assert loss(robust_q=0.7) == pytest.approx(robust_loss(x, label, 0.7).item())
    with pytest.raises(ValueError, match="two losses"):
        FitSettings(robust_q=0.7, label_smoothing=0.1)


def test_a_pupil_learns_what_teachers_say_on_average() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=rng)
    teachers = [torch.nn.Linear(4, 3) for _ in range(2)]
    pupil = torch.nn.Linear(4, 3)
    lesson = from_teachers(teachers)  # type: ignore[arg-type] # whatever has logits can teach
    wrong = torch.zeros(5, dtype=torch.int64)
    loss = lesson(pupil, lambda: (x, wrong), FitSettings())
    said = (teachers[0](x).softmax(1) + teachers[1](x).softmax(1)) / 2
    torch.testing.assert_close(loss, -(said * pupil(x).log_softmax(1)).sum())
    loss.backward()
    assert pupil.weight.grad is not None
    assert teachers[0].weight.grad is None
    # Nothing is left to learn of a pupil's own words.
    same = from_teachers([pupil])(pupil, lambda: (x, wrong), FitSettings())  # type: ignore[list-item]
    (pull,) = torch.autograd.grad(same, pupil.weight)
    assert pull.abs().max() < 1e-6


def test_views_are_to_find_their_partner() -> None:
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.normal(size=(4, 6))) for _ in range(2))

    def loss(*drawn: torch.Tensor) -> float:
        given, label = iter(drawn), torch.zeros(4)
        return from_views(lambda x: x, lambda: (next(given), label), FitSettings()).item()

    views = torch.cat([first, second]).numpy()
    views = views / np.linalg.norm(views, axis=1, keepdims=True)
    want = 0.0
    for one in range(8):
        likeness = {k: math.exp(views[one] @ views[k] / LIKENESS_SCALE) for k in range(8)}
        others = sum(value for k, value in likeness.items() if k != one)
        want -= math.log(likeness[(one + 4) % 8] / others) / 2
    assert loss(first, second) == pytest.approx(want)
    assert loss(first, first) < loss(first, second)
    assert loss(first, 3 * second) == pytest.approx(loss(first, second))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def recipe_path(folder: Path, tmp_path: Path) -> Iterator[Path]:
    path = folder / f"{tmp_path.name}.toml"
    write(path, tmp_path)
    yield path
    path.unlink()


def write(path: Path, out: Path, lines: str = "", weight: float | None = None) -> None:
    """Write the field's recipe, with more lines in [fit] and a weight of what is on the mosaic."""
    text = RECIPE.format(out=out, epochs=EPOCHS)
    if weight is not None:
        text = text.replace('store = "field.zarr"', f'store = "field.zarr"\nweight = {weight}')
    path.write_text(text + lines)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_network(path)[0].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(("power", "weight", "alike"), [(0, 4, None), (2, 2, 4), (0.5, 16, 4)])
def test_objects_are_shown_by_a_power_of_their_weight(
    recipe_path: Path, tmp_path: Path, power: float, weight: float, alike: float | None
) -> None:
    write(recipe_path, tmp_path, f"weight_power = {power}", weight)
    got = weights_of(train(recipe_path))
    write(recipe_path, tmp_path, weight=alike)
    assert same(got, weights_of(train(recipe_path, overwrite=True)))
    write(recipe_path, tmp_path, weight=weight)
    assert not same(got, weights_of(train(recipe_path, overwrite=True)))


STAGES = {
    "n_teachers = 2": ["-teacher-1", "-teacher-2", ""],
    "contrast_epochs = 3": ["-contrast", ""],
    "n_teachers = 1\ncontrast_epochs = 1": ["-contrast", "-teacher-1", ""],
}


def logged(path: Path) -> list[tuple[str, int]]:
    with read_recipe(path).log_path.open() as file:
        return [(row["fit"], int(row["epoch"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("lines", STAGES)
def test_no_stage_sees_who_judges(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    """All stages of a fold see the fold's objects; what is scored last is scored by the last."""
    suffixes = STAGES[lines]
    seen: list[tuple[set[int], int, Any]] = []

    def spy_fit(task: Task, samples: Samples, *rest: Any) -> Any:
        network = fit_network(task, samples, *rest)
        seen.append((set(samples.rows.tolist()), task.settings.seed, network))
        return network

    def spy_score(network: Any, card: Any, data: Any, rows: np.ndarray, at: Any) -> Any:
        assert network is seen[-1][2]
        for fitted, _, _ in seen[-len(suffixes) :]:
            assert fitted == set(range(68)) - set(rows.tolist())
        return score_rows(network, card, data, rows, at)

    monkeypatch.setattr(fit, "fit_network", spy_fit)
    monkeypatch.setattr(judgment, "score_rows", spy_score)
    write(recipe_path, tmp_path, lines)
    progress: list[tuple[int, int]] = []
    train(recipe_path, lambda done, total: progress.append((done, total)))
    settings = read_recipe(recipe_path).fit
    n_epoch = {"-contrast": settings.contrast_epochs}
    assert logged(recipe_path) == [
        (name + suffix, 1 + epoch)
        for name in ("fold-0", "fold-1", "final")
        for suffix in suffixes
        for epoch in range(n_epoch.get(suffix, EPOCHS))
    ]
    n = 3 * settings.n_epoch
    assert progress == [(k + 1, n) for k in range(n)]
    seeds = [seed for _, seed, _ in seen[: len(suffixes)]]
    assert seeds == [3 + int(s[-1]) if "teacher" in s else 3 for s in suffixes]


def test_a_training_that_stops_in_any_stage_ends_with_the_same_bytes(
    recipe_path: Path, tmp_path: Path
) -> None:
    write(recipe_path, tmp_path, "n_teachers = 1\ncontrast_epochs = 2")
    whole = file_digest(train(recipe_path))
    for after in (1, 3, 5):  # of the first fold: two epochs without labels, two and two with

        def stop(n_done: int, _: int, after: int = after) -> None:
            if n_done == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe_path, stop, overwrite=True)
        assert file_digest(train(recipe_path, overwrite=True)) == whole


def test_what_was_learned_without_labels_is_where_a_fit_begins(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the head; and it knows views of one object better than chance does."""
    made: list[dict[str, torch.Tensor]] = []
    losses: list[float] = []

    def spy_fit(task: Task, samples: Samples, state: Any, report: Any, lesson: Any) -> Any:
        if lesson is from_labels:
            assert task.start.keys() == {n for n in made[-1] if not n.startswith("head.")}
            assert same(task.start, made[-1])
            return fit_network(task, samples, state, report, lesson)
        network = fit_network(task, samples, state, lambda e: losses.append(e.loss), lesson)
        made.append({name: value.clone() for name, value in network.state_dict().items()})
        return network

    monkeypatch.setattr(fit, "fit_network", spy_fit)
    write(recipe_path, tmp_path, "contrast_epochs = 12")
    card = read_card(train(recipe_path))
    assert card.classes == ("nonmember", "member")
    assert len(made) == 3
    # One of 15 others is the partner in a batch of 8: whoever guesses has a loss of log 15.
    assert losses[11] < 0.8 * math.log(15)


def test_a_pupil_is_like_its_teachers(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it sees no label: here they are all wrong while it learns."""
    keep: list[Any] = []

    def spy_fit(task: Task, samples: Samples, state: Any, report: Any, lesson: Any) -> Any:
        if lesson is not from_labels:
            task.data.labels.label[:] = 1 - task.data.labels.label
        network = fit_network(task, samples, state, report, lesson)
        if lesson is not from_labels:
            task.data.labels.label[:] = 1 - task.data.labels.label
        keep.append(network)
        return network

    monkeypatch.setattr(fit, "fit_network", spy_fit)
    write(recipe_path, tmp_path, "n_teachers = 1")
    text = recipe_path.read_text()
    recipe_path.write_text(text.replace(f"epochs = {EPOCHS}", "epochs = 12"))
    assert read_card(train(recipe_path)).metrics["auc_out_of_fold"] > 0.95
    assert not same(keep[0].state_dict(), keep[1].state_dict())


def test_weights_may_come_from_another_unit(recipe_path: Path, tmp_path: Path) -> None:
    base = train(recipe_path)
    network, card = load_network(base)
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, network, card.model_copy(update={"unit": "nJy", "novelty": None}))
    recipe_path.write_text(
        recipe_path.read_text()
        .replace('name = "tiny"', 'name = "tuned"')
        .replace("rate = 1e-2", f'rate = 1e-12\nstart_from = "{other}"')
    )
    tuned = weights_of(train(recipe_path))
    for name, value in network.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(tuned[name], value, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("robust_q = 0", "fit.robust_q"),
        ("robust_q = 1.5", "fit.robust_q"),
        ("robust_q = 0.5\nlabel_smoothing = 0.1", "robust_q 0.5 and label_smoothing 0.1 are two"),
        ("n_teachers = -1", "fit.n_teachers"),
        ("weight_power = -1", "fit.weight_power"),
        ("weight_power = nan", "fit.weight_power"),
        ("contrast_epochs = 1.5", "fit.contrast_epochs"),
    ],
)
def test_wrong_values_are_one_line(
    recipe_path: Path, tmp_path: Path, line: str, message: str
) -> None:
    write(recipe_path, tmp_path, line)
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(recipe_path)
    assert "\n" not in str(caught.value)
