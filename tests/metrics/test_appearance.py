"""Parts that move as their pixels do from afar, and look like the data close by."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from sklearn_icm.base import GeneratorMixin
from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import (
    load_glyphs,
    make_faces,
    make_glyph_pairs,
    make_shapes,
)
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import (
    Flip,
    InterventionFamily,
    Scale,
    Stretch,
    Translate,
)
from sklearn_icm.metrics import make_appearance_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut
from sklearn_icm.rows._layout import DataLayout
from sklearn_icm.rows._space import Space
from tests.helpers import small

N = 150
WORLDS = {
    "faces": make_faces,
    "digits": make_glyph_pairs,
    "three digits": lambda n, **params: make_glyph_pairs(n, n_glyphs=3, **params),
    "shapes": make_shapes,
}
every_world = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
IMAGES = make_faces(60, random_state=0).render()


class Answering(GeneratorMixin, BaseEstimator):
    """Generator of images that answers with given rows, whatever it is asked."""

    def __init__(self, answer, shape=(24, 24), draws=False):
        self.answer, self.shape = answer, shape
        if not draws:
            self.abduct = None

    @property
    def space_(self):
        return Space(layout=DataLayout(int(np.prod(self.shape)), self.shape))

    @property
    def nodes_(self):
        return {"half": (2, 12, 12), "map": (2, 24, 24), "data": (1, 24, 24)}

    def intervene(self, interventions, X=None, **query):
        return self.answer


def stretched(rows, shape, factor):
    maps = torch.from_numpy(rows.reshape(len(rows), *(*shape, 1)[:3])).movedim(-1, 1)
    changed = Stretch(factor, axis="width")(maps).movedim(1, -1)
    return changed.numpy().reshape(len(rows), -1)


def ratios(X, answer, shape=(24, 24), factor=1.5, **params):
    """(motion, appearance) of an answer."""
    scorer = make_appearance_scorer({"map": Stretch(factor)}, **params)
    return scorer.components(Answering(answer, shape), X)["ratio"].to_numpy()


def decoys(world, factor):
    """What a score without an environment could take for the truth."""
    usual, moved = world.render(), world.render(factor)
    shape = world.data_shape
    halves = [r.reshape(len(r), *shape).copy() for r in (usual, moved)]
    right = (slice(None), slice(None), slice(shape[1] // 2, None))
    halves[0][right] = halves[1][right]
    pixels = stretched(usual, shape, factor)
    return {
        "rows as they are": usual,
        "pixels": pixels,
        "pixels, half as far": stretched(usual, shape, factor**0.5),
        "an empty map": np.full_like(usual, usual.min()),
        "the mean row": np.repeat(moved.mean(0)[None], len(moved), 0),
        "only the right half moved": halves[0].reshape(usual.shape),
        "half pixels, half as they are": (usual + pixels) / 2,
        "other rows": np.roll(moved, 1, axis=0),
    }


def assert_the_truth_wins(world, factor=1.5):
    X, shape = world.render(), world.data_shape
    truth = ratios(X, world.render(factor), shape, factor).sum()
    assert truth < 0.4
    for name, rows in decoys(world, factor).items():
        assert ratios(X, rows, shape, factor).sum() > truth + 0.05, name


@every_world
def test_no_decoy_wins_over_the_truth(make):
    assert_the_truth_wins(make(N, stretch=1.5, random_state=100))


@pytest.mark.slow
@every_world
@pytest.mark.parametrize("factor", [1.25, 1.5])
@pytest.mark.parametrize("seed", range(101, 106))
def test_no_decoy_wins_over_the_truth_in_any_seed(make, factor, seed):
    assert_the_truth_wins(make(500, stretch=1.5, random_state=seed), factor)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 105))
def test_no_decoy_wins_with_clothes(seed):
    try:
        glyphs = load_glyphs("fashion-mnist")[:2000]
    except FileNotFoundError:
        pytest.skip("Fashion-MNIST is not here.")
    world = make_glyph_pairs(500, glyphs=glyphs, stretch=1.5, random_state=seed)
    assert_the_truth_wins(world)


def test_each_half_alone_has_a_decoy():
    """Three points: exact, nothing moved, and stretched pixels."""
    world = make_faces(N, random_state=100)
    X = world.render()
    motion, appearance = ratios(X, stretched(X, (24, 24), 1.5))
    assert (motion, appearance) == pytest.approx((0, 1), abs=1e-6)
    motion, appearance = ratios(X, X)
    assert motion == 1
    assert abs(appearance) < 0.05
    assert (ratios(X, world.render(1.5)) < 0.2).all()


def test_it_prefers_parts_where_the_truth_is_stretched_pixels():
    """What it assumes: only an environment can tell."""
    world = make_faces(N, random_state=100)
    X = world.render()
    truth = stretched(X, (24, 24), 1.5)
    assert ratios(X, world.render(1.5)).sum() < ratios(X, truth).sum()


@every_world
@pytest.mark.parametrize(("scale", "offset"), [(255.0, 0.0), (1.0, -3.0), (1e-3, 50.0)])
def test_scale_and_offset_of_images_do_not_matter(make, scale, offset):
    world = make(80, random_state=100)
    rows = world.render(), world.render(1.3)
    usual = ratios(*rows, world.data_shape, 1.3)
    other = ratios(*(scale * r + offset for r in rows), world.data_shape, 1.3)
    assert np.allclose(usual, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("make", [make_faces, make_shapes])
def test_the_true_mechanisms_score_high_by_draws(make):
    world = make(150, random_state=100)
    model = FixedGenerator(world.mechanisms, data_shape=world.data_shape)
    model.fit(world.render())
    ((node, change),) = world.interventions["stretched"].items()
    pixels = Stretch(1.5, axis="width")
    asked = {"predict": "draws", "pixels": pixels}
    right, wrong = (
        make_appearance_scorer(changes, **asked)(model, world.render())
        for changes in ({node: change}, {"data": pixels})
    )
    assert right > 0.5
    assert abs(wrong) < 0.1


def test_both_halves_are_reported():
    changes = {"wide": {"map": Stretch(1.5)}, "narrow": {"map": Stretch(0.8)}}
    scorer = make_appearance_scorer(changes)
    model = Answering(stretched(IMAGES, (24, 24), 1.5))
    score, table = scorer(model, IMAGES), scorer.score_components_
    assert table.index.tolist() == [
        (name, half) for name in changes for half in ("motion", "appearance")
    ]
    assert list(table.columns) == ["distance", "reference", "ratio"]
    assert np.allclose(table["ratio"], table["distance"] / table["reference"])
    assert score == pytest.approx(1 - table["ratio"].sum() / 2)
    again = scorer.components(model, IMAGES)
    assert again.equals(table)


def test_searches_use_it_with_and_without_environments():
    world = make_faces(60, random_state=0)
    search = {"icm_weight": [0.0, 0.1]}
    model = {"hidden": (4, 2), "max_epochs": 1, "latent_density": "gaussian"}
    vae = small(data_shape=(24, 24), **model)
    scorer = make_appearance_scorer({"conv2": Stretch(1.5)})
    rows = world.render()
    alone = GridSearchCV(vae, search, scoring=scorer, cv=2, error_score="raise")
    assert np.isfinite(alone.fit(rows).cv_results_["mean_test_score"]).all()
    seen = "observational"
    scorer = make_appearance_scorer({"conv2": Stretch(1.5)}, observational=seen)
    found = GridSearchCV(
        vae.set_params(observational=seen),
        search,
        scoring={"parts": scorer},
        refit="parts",
        cv=LeaveEnvironmentOut(observational=seen, n_splits=2),
        error_score="raise",
    ).fit(world.data, world.environments)
    assert np.isfinite(found.cv_results_["mean_test_parts"]).all()
    best = found.best_estimator_
    labels = world.environments
    assert scorer(best, world.data, labels) == scorer(found, rows)
    pipeline = GenerativePipeline([("vae", best)]).as_fitted()
    assert scorer(pipeline, rows) == scorer(best, rows)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"patch_size": 25}, "patch_size must be at most .* 24, got 25"),
        ({"interventions": {"map": Stretch(1.0)}}, "moves nothing"),
        ({"interventions": {"map": Stretch(1.5, axis="length")}}, "does not fit node"),
        ({"interventions": {"half": Translate(1.0)}}, "Give it as pixels="),
        ({"interventions": {"nothing": {}}}, "Give it as pixels="),
        ({"interventions": {"half": Stretch(1.5, about=2.0)}}, "Give it as pixels="),
        (
            {"interventions": {"half": Scale(2.0), "map": Scale(2.0)}},
            "Give it as pixels=",
        ),
        (
            {"interventions": {"a": {"map": Scale(2.0)}}, "pixels": {"b": Scale(2.0)}},
            "pixels must name each of the interventions",
        ),
    ],
)
def test_what_it_cannot_judge_is_refused(params, match):
    params = {"interventions": {"map": Stretch(1.5)}, **params}
    scorer = make_appearance_scorer(**params)
    with pytest.raises(ValueError, match=match):
        scorer(Answering(IMAGES), IMAGES)


def test_models_and_rows_that_it_cannot_judge_are_refused():
    scorer = make_appearance_scorer({"conv2": Stretch(1.3)})
    vae = small(data_shape=(24, 24), hidden=(4, 2), max_epochs=1).fit(IMAGES)
    with pytest.raises(ValueError, match="unknown.*'map'|'map'"):
        make_appearance_scorer({"map": Stretch(1.3)})(vae, IMAGES)
    with pytest.raises(ValueError, match="does not fit node 'noise'"):
        make_appearance_scorer({"noise": Stretch(1.3)})(vae, IMAGES)
    with pytest.raises(ValueError, match="one colour each"):
        scorer(vae, np.ones_like(IMAGES) * np.arange(len(IMAGES))[:, None])
    with pytest.raises(ValueError, match="at least 4 rows, got 3"):
        scorer(vae, IMAGES[:3])
    iris = load_iris().data
    table = small(n_latents=2).fit(iris)
    with pytest.raises(ValueError, match="parts of images.*data_shape=None"):
        make_appearance_scorer({"dense1": Scale(2.0)})(table, iris)
    signal = small(data_shape=(576,), max_epochs=1, hidden=(4, 2)).fit(IMAGES)
    with pytest.raises(ValueError, match=r"parts of images.*data_shape=\(576,\)"):
        scorer(signal, IMAGES)
    with pytest.raises(TypeError, match="needs a generator"):
        scorer(BaseEstimator(), IMAGES)
    rows = make_appearance_scorer({"map": Stretch(1.3)}, predict="rows")
    with pytest.raises(TypeError, match="explains given rows"):
        rows(Answering(IMAGES, draws=True), IMAGES)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"patch_size": 1}, "patch_size must be an int >= 2"),
        ({"blur": 0.0}, "blur must be None or a positive number"),
        ({"n_samples": 3}, "n_samples must be an int >= 4"),
        ({"predict": "all"}, "predict must be one of"),
        ({"residual": "half"}, "residual must be one of"),
    ],
)
def test_bad_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        make_appearance_scorer({"map": Stretch(1.5)}, **params)


@pytest.mark.parametrize("change", [Flip("width"), Translate(2.0)])
def test_changes_that_leave_patches_alone_are_named(change):
    """Then pixels are moved rightly, and appearance is told from chance alone."""
    scorer = make_appearance_scorer({"map": change})
    with pytest.warns(UserWarning, match="leaves patches of images as they are"):
        table = scorer.components(Answering(IMAGES), IMAGES).droplevel("change")
    assert table["ratio"]["motion"] == 1
    assert abs(table["ratio"]["appearance"]) < 3


def test_interventions_are_a_dict_of_fixed_strengths():
    with pytest.raises(TypeError, match="non-empty dict"):
        make_appearance_scorer({})
    family = InterventionFamily(Stretch, {"factor": (1.0, 1.5)})
    with pytest.raises(TypeError, match="must be of fixed strengths"):
        make_appearance_scorer({"map": family})


def test_what_is_kept_of_unexplained_parts_is_seen():
    """A collapsed model with its residual kept leaves the rows where they were."""
    vae = small(data_shape=(24, 24), hidden=(4, 2), max_epochs=1).fit(IMAGES)
    change, found = {"conv2": Stretch(1.5)}, {}
    for residual in ("keep", "drop"):
        scorer = make_appearance_scorer(change, residual=residual)
        found[residual] = scorer.components(vae, IMAGES)["ratio"].tolist()
    assert found["keep"] == pytest.approx([1, 0], abs=0.3)
    assert found["drop"][1] > 2


def test_a_change_of_the_data_is_one_of_pixels():
    vae = small(data_shape=(24, 24), hidden=(4, 2), max_epochs=1).fit(IMAGES)
    table = make_appearance_scorer({"data": Stretch(1.5)}).components(vae, IMAGES)
    assert table["ratio"].tolist() == pytest.approx([0, 1], abs=1e-3)
