import numpy as np
import pytest
import torch
from helpers import TABLE, small
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_icm.datasets import make_faces
from sklearn_icm.exceptions import ClippedInterventionWarning, UnreadMechanismWarning
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import (
    AutoPenalty,
    GenericPenalty,
    IMAPenalty,
    SpectralPenalty,
    Step,
    SumPenalty,
    TracePenalty,
)
from sklearn_icm.interventions import Do, Scale, Shift, Stretch, Units


@pytest.fixture(scope="module")
def table_model():
    return small(max_epochs=20).fit(TABLE)


# ------------------------------------------------------------------ learning
def test_learns_a_two_dimensional_distribution():
    """Two far clusters on a line: both are sampled, and nothing between them."""
    rng = np.random.RandomState(0)
    side = rng.choice([-1.0, 1.0], size=(600, 1))
    X = side * [3.0, -3.0] + 0.1 * rng.randn(600, 2)
    model = VAEGenerator(n_latents=2, hidden=(32, 32), random_state=0).fit(X)
    rows = model.sample(2000, random_state=0)
    assert np.mean(rows[:, 0] > 0) == pytest.approx(0.5, abs=0.1)
    assert np.mean(np.abs(rows[:, 0]) < 1.5) < 0.05
    assert np.corrcoef(rows.T)[0, 1] < -0.95
    assert model.score(X) > model.score(X[:, ::-1] + 1)


def test_importance_weighted_bound_is_tighter(table_model):
    bounds = [table_model.score_samples(TABLE, n_importance=k).mean() for k in (1, 256)]
    assert bounds[1] > bounds[0]


def test_bound_is_exact_for_a_decoder_that_ignores_the_latents():
    """Then x is independent of z, and the optimal bound is the Gaussian density."""
    X = np.random.RandomState(0).randn(400, 3)
    model = VAEGenerator(
        n_latents=1, hidden=(4,), latent_density="gaussian", beta=50, random_state=0
    ).fit(X)
    expected = -0.5 * np.mean(np.log(2 * np.pi * X.var(0)) + 1) * 3
    assert model.score(X) == pytest.approx(expected, abs=0.02)


def test_noise_is_less_where_entries_do_not_vary():
    """At a pixel that is empty; after a fit, and where training went on too."""
    X = load_digits().data[:200]
    model = small(
        data_shape=(8, 8), max_epochs=10, lr=0.02, warm_start=True, bounds=None
    )
    for train in (model.fit, model.partial_fit, model.fit):
        train(X)
        mean, rows = (
            model.sample(200, random_state=0, observation_noise=noisy)
            for noisy in (False, True)
        )
        empty = np.abs(mean) < 0.5
        assert 2 * (rows - mean)[empty].std() < (rows - mean)[~empty].std()


def test_scores_of_rows_do_not_depend_on_other_rows(table_model):
    scores = table_model.score_samples(TABLE)
    assert np.allclose(table_model.score_samples(TABLE[::-1])[::-1], scores, atol=1e-9)
    assert np.allclose(table_model.score_samples(TABLE[5:6]), scores[5], atol=1e-9)


def test_transform_and_inverse_transform(table_model):
    Z = table_model.transform(TABLE)
    assert Z.shape == (40, 2)
    assert list(table_model.get_feature_names_out()) == [
        "vaegenerator0",
        "vaegenerator1",
    ]
    expected = table_model.intervene({}, X=TABLE, residual="drop")
    assert np.allclose(table_model.inverse_transform(Z), expected, atol=1e-5)
    with pytest.raises(ValueError, match="needs 2 latents per row, got 3"):
        table_model.inverse_transform(np.zeros((1, 3)))


def test_penalty_makes_mechanisms_more_independent(pairs):
    X = pairs.data[:200]

    def spread(weight):
        model = small(
            data_shape=pairs.data_shape, hidden=(8, 4), max_epochs=8, icm_weight=weight
        ).fit(X)
        return float(AutoPenalty()(Step(model.graph_)).detach())

    assert spread(10.0) < 0.2 * spread(0.0)


PENALTIES = [
    SpectralPenalty("triplet"),
    SpectralPenalty("activation"),
    GenericPenalty(),
    IMAPenalty(),
    SumPenalty([SpectralPenalty("full"), GenericPenalty()], weights=[0.1, 1.0]),
]


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_every_penalty_trains_and_is_logged(penalty):
    X = np.random.RandomState(0).uniform(size=(60, 48))
    model = small(
        data_shape=(6, 8),
        hidden=(3, 3),
        icm_penalty=penalty,
        icm_weight=3.0,
        max_epochs=12,
        lr=1e-2,
    ).fit(X)
    values = model.history_["penalty"]
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    if "Generic" not in repr(penalty):
        assert values.iloc[-3:].mean() < values.iloc[:3].mean()
    assert np.isfinite(model.sample(5)).all()


def test_parts_of_a_sum_are_logged():
    total = SumPenalty([TracePenalty(), GenericPenalty()])
    model = small(hidden=(8, 8), icm_penalty=total, icm_weight=1.0).fit(TABLE)
    history = model.history_
    parts = history[["penalty 0 TracePenalty", "penalty 1 GenericPenalty"]]
    assert (parts > 0).all(axis=None)
    assert (history["penalty"] > parts.max(axis=1)).all()


def test_form_of_the_penalty_is_searched():
    search = GridSearchCV(
        small(data_shape=(2, 2), icm_penalty=SpectralPenalty(), icm_weight=1.0),
        {"icm_penalty__form": ["pooled", "triplet", "full", "activation"]},
        cv=2,
        error_score="raise",
    ).fit(TABLE)
    assert len(search.cv_results_["params"]) == 4


def test_parts_of_a_sum_are_searched():
    total = SumPenalty([SpectralPenalty(), GenericPenalty()])
    grid = {
        "icm_penalty__0__form": ["pooled", "full"],
        "icm_penalty__weights": [None, [1.0, 0.0]],
    }
    search = GridSearchCV(
        small(data_shape=(2, 2), icm_penalty=total, icm_weight=1.0),
        grid,
        cv=2,
        error_score="raise",
    ).fit(TABLE)
    chosen = search.best_estimator_.icm_penalty.penalties[0].form
    assert chosen == search.best_params_["icm_penalty__0__form"]
    assert total.penalties[0].form == "pooled"
    with pytest.raises(ValueError, match="numbered from 0 to 1"):
        total.set_params(**{"2__form": "full"})


def test_warm_up_raises_the_weight():
    history = small(max_epochs=5, icm_weight=2.0, icm_warmup=4).fit(TABLE).history_
    assert history["icm_weight"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_history_has_every_term(table_model):
    history = table_model.history_
    assert history.index.name == "epoch"
    assert len(history) == table_model.n_iter_ == 20
    terms = history[["reconstruction", "kl"]].sum(axis=1)
    assert np.allclose(history["loss"], terms, atol=1e-5)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


# --------------------------------------------------------------- the verbs
@pytest.mark.parametrize(
    "change",
    [Do(0.5), Shift(0.5), Scale(1.3), Units(0, 0.0), Stretch(1.3), torch.tanh, 0.1],
)
@pytest.mark.parametrize("node", ["conv1", "conv2", "data"])
def test_every_intervention_acts_on_every_map(fitted, pairs, change, node):
    factual, changed = fitted.intervene(
        {node: change}, n_samples=4, random_state=0, return_factual=True
    )
    assert factual.shape == changed.shape == (4, pairs.data.shape[1])
    assert not np.allclose(factual, changed)
    low, high = pairs.data.min(), pairs.data.max()
    assert changed.min() >= low
    assert changed.max() <= high
    counterfactual = fitted.intervene({node: change}, X=pairs.data[:4])
    assert counterfactual.shape == (4, pairs.data.shape[1])


def test_clipped_interventions_are_said():
    model = small().fit(TABLE)
    with pytest.warns(ClippedInterventionWarning, match="bounds=None"):
        model.intervene({"data": Shift(1.0)}, n_samples=20)
    free = small(bounds=None).fit(TABLE)
    assert free.intervene({"data": Shift(1.0)}, n_samples=20).max() > 1.2


def test_several_nodes_at_once(fitted):
    both = fitted.intervene({"conv1": 0.0, "conv2": 0.0}, n_samples=3, random_state=0)
    last = fitted.intervene({"conv2": 0.0}, n_samples=3, random_state=0)
    assert np.array_equal(both, last)


def test_data_interventions_act_on_observed_values(fitted, pairs):
    """A pixel intervention on given rows is exact: no reconstruction is involved."""
    X = pairs.data[:5]
    flipped = fitted.intervene({"data": lambda v: v.flip(-1)}, X=X)
    images = X.reshape(5, *pairs.data_shape)[..., ::-1]
    assert np.allclose(flipped, images.reshape(5, -1), atol=1e-12)


def test_counterfactuals_keep_or_drop_the_residual(fitted, pairs):
    X = pairs.data[:5]
    factual, kept = fitted.intervene({"conv2": Scale(0.5)}, X=X, return_factual=True)
    assert np.array_equal(factual, X)
    mean, dropped = fitted.intervene(
        {"conv2": Scale(0.5)}, X=X, return_factual=True, residual="drop"
    )
    inside = (kept > X.min()) & (kept < X.max()) & (dropped > 0) & (mean > 0)
    assert np.allclose((kept - X)[inside], (dropped - mean)[inside], atol=1e-5)


def test_mean_without_observation_noise(table_model):
    mean = table_model.sample(5, random_state=0, observation_noise=False)
    draws = table_model.sample(5, random_state=0)
    assert not np.allclose(mean, draws)
    again = table_model.sample(5, random_state=0, observation_noise=False)
    assert np.array_equal(mean, again)


def test_bernoulli_samples_are_binary():
    X = (TABLE > 0.5).astype(float)
    model = small(likelihood="bernoulli").fit(X)
    assert set(np.unique(model.sample(50))) == {0.0, 1.0}
    mean = model.sample(50, observation_noise=False)
    assert ((mean > 0) & (mean < 1)).all()


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4), (1, 1, 4)])
def test_bounded_data_stay_bounded(shape):
    model = small(data_shape=shape).fit(TABLE)
    with pytest.warns(ClippedInterventionWarning):
        rows = model.intervene({"data": Scale(100.0)}, n_samples=50)
    assert rows.min() >= TABLE.min()
    assert rows.max() <= TABLE.max()


def test_bounds_can_be_given_or_lifted():
    rows = small(bounds=(-1, 0.5)).fit(TABLE).sample(50)
    assert rows.max() <= 0.5
    assert rows.max() >= 0.4
    free = small(bounds=None).fit(TABLE).intervene({"data": Shift(9.0)}, n_samples=5)
    assert free.min() > 5
    per_column = small().fit(TABLE * [1, 10, 100, 1000]).sample(200)
    assert (per_column.max(0) <= TABLE.max(0) * [1, 10, 100, 1000]).all()


# --------------------------------------------------------------- environments
def test_labels_filter_rows_and_errors_name_the_labels():
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    only = small().fit(TABLE[labels == "a"])
    filtered = small(observational="a").fit(TABLE, labels)
    listed = small(observational=["a"]).fit(TABLE, environments=labels)
    expected = only.sample(5, random_state=0)
    assert np.array_equal(filtered.sample(5, random_state=0), expected)
    assert np.array_equal(listed.sample(5, random_state=0), expected)
    assert filtered.score(TABLE, labels) == only.score(TABLE[labels == "a"])
    with pytest.raises(ValueError, match=r"observational='c' is not.*\['a', 'b'\]"):
        small(observational="c").fit(TABLE, labels)
    with pytest.raises(ValueError, match="given twice"):
        small(observational="a").fit(TABLE, labels, labels)


def test_was_fitted_on(table_model):
    assert table_model.was_fitted_on(TABLE)
    assert not table_model.was_fitted_on(TABLE[::-1])
    assert not table_model.was_fitted_on(TABLE[:5])
    assert not table_model.was_fitted_on(TABLE[:0])


# -------------------------------------------------------------------- quality
@pytest.mark.slow
def test_sample_quality_on_digits():
    """Better than a clipped GaussianMixture(10), and no copies of the training rows."""
    from scipy.spatial.distance import cdist
    from sklearn.model_selection import train_test_split

    from sklearn_icm.metrics import energy_distance

    X = load_digits().data / 16
    distances, ratios = [], []
    for seed in range(3):
        train, test = train_test_split(X, train_size=0.6, random_state=seed)
        rows = VAEGenerator(random_state=seed).fit(train).sample(719, random_state=seed)
        distances.append(energy_distance(test, rows))
        nearest = [np.median(cdist(a, train).min(1)) for a in (rows, test)]
        ratios.append(nearest[0] / nearest[1])
    assert np.mean(distances) <= 0.012
    assert np.mean(ratios) >= 0.8


def test_a_decoder_without_parameters_trains_its_encoder():
    faces = make_faces(30, random_state=0)
    model = VAEGenerator(
        data_shape=faces.data_shape,
        n_latents=5,
        hidden=(4,),
        decoder=lambda n_latents, shape: faces.mechanisms,
        bounds=None,
        max_epochs=1,
        random_state=0,
    ).fit(faces.data)
    assert np.isfinite(model.intervene({"layout": Stretch(1.2)}, n_samples=3)).all()
    with pytest.warns(UnreadMechanismWarning, match="'factors' has no operator"):
        assert len(model.independence()) == 0


def fails(step):
    raise RuntimeError("a penalty that is switched off is not needed")


@pytest.mark.parametrize(
    "penalty",
    [
        IMAPenalty(n_rows=0),
        SpectralPenalty("no such form"),
        SumPenalty([TracePenalty(), fails]),
        SumPenalty([TracePenalty()], weights=[1.0, 2.0]),
        fails,
        SpectralPenalty(),
    ],
    ids=["rows", "form", "sum", "weights", "fails", "blind"],
)
def test_a_penalty_of_weight_0_is_not_computed(penalty):
    model = small(icm_penalty=penalty, icm_weight=0.0).fit(TABLE)
    assert_array_equal(model.sample(5, 0), small().fit(TABLE).sample(5, 0))
    assert not [name for name in model.history_ if name.startswith("penalty")]


def test_every_part_of_a_sum_must_apply_unless_its_weight_is_0():
    parts = [TracePenalty(), SpectralPenalty()]
    model = small(hidden=(8, 8), icm_weight=1.0)
    with pytest.raises(ValueError, match=r"no effect by SpectralPenalty\(\)"):
        model.set_params(icm_penalty=SumPenalty(parts)).fit(TABLE)
    off = SumPenalty(parts, weights=np.array([1.0, 0.0]))
    history = model.set_params(icm_penalty=off).fit(TABLE).history_
    assert_array_equal(history["penalty"], history["penalty 0 TracePenalty"])


def test_penalties_of_a_sum_are_replaced():
    given = [TracePenalty(), GenericPenalty()]
    model = small(icm_penalty=SumPenalty(given))
    model.set_params(icm_penalty__0__form="activation", icm_penalty__0=TracePenalty())
    assert model.icm_penalty.penalties == [TracePenalty("activation"), GenericPenalty()]
    assert given == [TracePenalty(), GenericPenalty()]
    assert model.get_params()["icm_penalty__0"] == TracePenalty("activation")
