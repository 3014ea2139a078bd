"""Agreement and consistency of refits, and their scorers."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
from helpers import BEND, ROWS, TABLE, Chain, small
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA, FastICA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.interventions import Scale
from sklearn_icm.metrics import (
    fit_refits,
    make_refit_scorer,
    refit_agreement,
    sliced_wasserstein,
)

FIT = ("n_refits", "y", "n_jobs")


def extrapolation_agreement(estimator, X, interventions, **params):
    """Of refits that are made first, unless they are given."""
    refits = estimator
    if not isinstance(estimator, list):
        fit = {name: params.pop(name) for name in FIT if name in params}
        seed = params.get("random_state")
        refits = fit_refits(estimator, X, random_state=seed, **fit)
    return refit_agreement(refits, X, interventions, **params)


def latent_consistency(estimator, X, **params):
    return extrapolation_agreement(estimator, X, None, **params)


@pytest.mark.parametrize("distance", ["energy", "mmd", sliced_wasserstein])
def test_refits_that_are_one_model_agree(distance):
    """Chance exceeds the floor in few seeds, and not by much."""
    values = [
        extrapolation_agreement(
            Chain(turned=False), ROWS, BEND, random_state=seed, distance=distance
        ).value
        for seed in range(5)
    ]
    assert np.median(values) == 1
    assert min(values) > 0.5


def test_refits_that_disagree_under_the_intervention_alone():
    results = [
        extrapolation_agreement(Chain(), ROWS, BEND, random_state=s) for s in range(5)
    ]
    assert max(r.table_["ratio"].iloc[0] for r in results) < 1.5
    assert np.median([r.value for r in results]) < 0.5


class Unfinished(Chain):
    """Refits that differ in distribution already, by a unit of their own."""

    def intervene(self, interventions, X=None, *, n_samples, random_state):
        unit = np.random.RandomState(self.random_state).uniform(1, 20)
        return unit * super().intervene(
            interventions, n_samples=n_samples, random_state=random_state
        )


def test_only_the_floor_ranks_estimators_whose_refits_differ_in_distribution():
    def medians(estimator):
        tables = [
            extrapolation_agreement(estimator, ROWS, BEND, random_state=s).table_
            for s in range(3)
        ]
        relative = [t["agreement"].iloc[1] for t in tables]
        return np.median(relative), np.median([1 / t["ratio"].iloc[1] for t in tables])

    same, chain, unfinished = map(medians, (Chain(turned=False), Chain(), Unfinished()))
    by_floor = extrapolation_agreement(Chain(), ROWS, BEND, reference="floor")
    assert by_floor.value == 1 / by_floor.table_["ratio"].iloc[1]
    assert same == (1, 1)
    assert chain[1] <= chain[0] < unfinished[0]
    assert unfinished[1] < chain[1]


def test_agreement_falls_as_rows_resolve_more():
    coarse, fine = (
        extrapolation_agreement(Chain(), ROWS, BEND, n_samples=n, n_refits=4).value
        for n in (50, 800)
    )
    assert fine < coarse / 4


@pytest.mark.parametrize(
    ("estimator", "nothing"),
    [(Chain(), {"hidden": lambda h: h}), (small(), {"dense1": Scale(1.0)})],
    ids=["chain", "vae"],
)
def test_an_intervention_that_does_nothing_has_agreement_one(estimator, nothing):
    result = extrapolation_agreement(estimator, TABLE[:, :2], nothing, n_refits=2)
    assert result.value == 1
    first, second = result.table_.drop(columns="agreement").to_numpy()
    assert first == pytest.approx(second)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 10),
    power=st.integers(-20, 20),
    distance=st.sampled_from(["energy", "mmd", "sliced_wasserstein"]),
)
def test_the_unit_of_an_intervention_does_not_matter(seed, power, distance):
    def bend_and_scale(factor):
        return extrapolation_agreement(
            Chain(),
            ROWS,
            {**BEND, "data": lambda x: x * factor},
            n_samples=30,
            n_refits=2,
            random_state=seed,
            distance=distance,
        ).value

    assert bend_and_scale(2.0**power) == pytest.approx(bend_and_scale(1.0), rel=1e-3)


def test_rows_that_are_all_alike_have_no_floor():
    same = extrapolation_agreement(Chain(), ROWS, {"data": lambda x: x * 0 + 1})
    assert same.value == 1
    assert same.table_.loc["intervention", "floor"] == 0
    # Every refit draws one row over and over, each refit another one.
    apart = extrapolation_agreement(Chain(), ROWS, {"hidden": lambda h: h * 0 + 1})
    assert apart.value == 0
    assert np.isinf(apart.table_.loc["intervention", "ratio"])
    assert apart.table_["distance"].notna().all()


def test_value_is_the_mean_over_interventions():
    changes = {"bend": BEND, "double": {"data": lambda x: 2 * x}}
    both = extrapolation_agreement(Chain(), ROWS, changes)
    alone = [extrapolation_agreement(Chain(), ROWS, c) for c in changes.values()]
    assert list(both.table_.index) == ["in distribution", *changes]
    assert both.value == pytest.approx(np.mean([a.value for a in alone]))
    assert (both.table_["farthest"] >= both.table_["distance"]).all()
    assert both.table_["agreement"].between(0, 1).all()


def test_a_vae_is_reproducible_and_threads_change_nothing():
    def measure(**params):
        return extrapolation_agreement(
            small(), TABLE, {"dense1": Scale(2.0)}, n_refits=2, **params
        ).table_

    expected = measure()
    assert expected.equals(measure(random_state=None))
    with joblib.parallel_config(backend="threading"):
        assert expected.equals(measure(n_jobs=2))
    assert not expected.equals(measure(random_state=1))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(MinMaxScaler(), model),
        lambda model: GenerativePipeline([("scale", MinMaxScaler()), ("vae", model)]),
    ],
    ids=["Pipeline", "GenerativePipeline"],
)
def test_generators_behind_preprocessing_compare_in_input_space(wrap):
    change = {"dense1": Scale(2.0)}
    tables = [
        extrapolation_agreement(
            wrap(small()), unit * TABLE, change, n_refits=2, units="common"
        ).table_
        for unit in (1.0, 1024.0)
    ]
    assert tables[1]["distance"].to_numpy() == pytest.approx(
        1024 * tables[0]["distance"].to_numpy(), rel=1e-3
    )
    assert tables[1]["ratio"].to_numpy() == pytest.approx(
        tables[0]["ratio"].to_numpy(), rel=1e-3
    )


def test_distances_must_be_finite():
    with pytest.raises(ValueError, match="distance must return finite numbers, got"):
        extrapolation_agreement(Chain(), ROWS, BEND, distance=lambda a, b: np.nan)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"interventions": {}}, TypeError, "must be a non-empty dict"),
        ({"interventions": Scale(2.0)}, TypeError, "must be a non-empty dict"),
        ({"interventions": {"a": {}, "b": 1}}, TypeError, "mixture: 'b' is not a dict"),
        ({"distance": "l2"}, ValueError, "distance must be a callable or one of"),
        ({"reference": "truth"}, ValueError, "one of .*'floor'.*got 'truth'"),
        ({"n_samples": 3}, ValueError, "n_samples == 3, must be >= 4"),
        ({"n_refits": 1}, ValueError, "n_refits == 1, must be >= 2"),
        ({"n_refits": 2.5}, TypeError, "n_refits must be an instance of int"),
        ({"interventions": {"nowhere": 1.0}}, ValueError, "Unknown node 'nowhere'"),
        ({"estimator": [PCA()] * 2}, TypeError, "estimators with `intervene`, got PCA"),
        ({"estimator": [small()]}, ValueError, "at least 2 fitted.*got a list of 1"),
    ],
)
def test_bad_input(params, error, match):
    arguments = {"estimator": small(), "interventions": {"data": 1.0}}
    if "estimator" not in params:
        arguments["n_refits"] = 2
    with pytest.raises(error, match=match):
        extrapolation_agreement(**{"X": TABLE, **arguments, **params})


def test_more_refits_leave_the_first_ones_alone():
    few, more = (fit_refits(Chain(), ROWS, n_refits=n) for n in (2, 4))
    assert [r.random_state for r in few] == [r.random_state for r in more[:2]]
    assert len({r.random_state for r in more}) == 4


def test_refits_leave_the_estimator_and_the_global_stream_alone():
    fitted = small(random_state=3).fit(TABLE)
    before, state = fitted.sample(5, random_state=0), np.random.get_state()[1].copy()
    refits = fit_refits(fitted, TABLE, n_refits=2)
    assert np.array_equal(before, fitted.sample(5, random_state=0))
    assert fitted.random_state == 3
    assert np.array_equal(state, np.random.get_state()[1])
    assert not any(np.array_equal(r.sample(5, random_state=0), before) for r in refits)


def test_every_seed_inside_a_pipeline_is_set():
    pipe = make_pipeline(PCA(random_state=0), Chain(random_state=0))
    for refit in fit_refits(pipe, ROWS):
        seeds = {refit[0].random_state, refit[1].random_state}
        assert len(seeds) == 2
        assert 0 not in seeds


def test_labels_reach_the_fit():
    labels = np.repeat(["seen", "moved"], 20)
    draws = []
    for rows in (TABLE, np.where(labels[:, None] == "seen", TABLE, 1e3)):
        refits = fit_refits(small(observational="seen"), rows, labels, n_refits=2)
        draws.append(refits[0].sample(5, random_state=0))
    assert np.array_equal(*draws)


def test_fitted_estimators_are_compared_as_they_are():
    refits = fit_refits(Chain(), ROWS)
    by_list = extrapolation_agreement(refits, ROWS, BEND)
    assert by_list.table_.equals(extrapolation_agreement(Chain(), ROWS, BEND).table_)
    by_list = latent_consistency(refits, ROWS)
    assert by_list.value == latent_consistency(Chain(), ROWS).value


@pytest.mark.parametrize("seed", range(4))
def test_rotated_latents_are_consistent_up_to_affine_maps_alone(seed):
    first, second = refits = fit_refits(Chain(), ROWS, n_refits=2, random_state=seed)
    turn = np.abs(first.W_ @ second.W_.T)
    matched = latent_consistency(refits, ROWS)
    assert matched.value == pytest.approx(max(turn[0]))
    affine = latent_consistency(refits, ROWS, alignment="affine")
    assert affine.value == pytest.approx(1)
    assert affine.chance < 0.2


class Shuffled(Chain):
    """Latents in another order per seed, in units of their own if `scaled`."""

    def __init__(self, scaled=False, random_state=None):
        self.scaled = scaled
        self.random_state = random_state

    def transform(self, X):
        stream = np.random.RandomState(self.random_state)
        Z = np.asarray(X)[:, stream.permutation(X.shape[1])]
        return Z * stream.uniform(1, 9, size=X.shape[1]) if self.scaled else Z

    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize("scaled", [False, True])
def test_each_alignment_forgives_its_group_and_no_more(scaled):
    X = np.random.RandomState(1).standard_normal((60, 5))
    names = ["identity", "permutation_scale", "affine"]
    identity, permutation_scale, affine = (
        latent_consistency(Shuffled(scaled), X, alignment=name, n_refits=4).value
        for name in names
    )
    assert permutation_scale == pytest.approx(1)
    assert affine == pytest.approx(1)
    assert identity < 0.5


class Noise(Shuffled):
    """Latents that know nothing of the rows."""

    def transform(self, X):
        return np.random.RandomState(self.random_state).standard_normal((len(X), 3))


@pytest.mark.parametrize("alignment", ["permutation_scale", "affine", "nonlinear"])
def test_latents_that_know_nothing_are_at_chance(alignment):
    X = np.zeros((400, 3))
    result = latent_consistency(Noise(), X, alignment=alignment, n_refits=2)
    # The correlation of one pair has sd 1/20, and the matching picks large ones.
    assert result.value == pytest.approx(result.chance, abs=0.15)
    assert result.value < 0.25


def test_independent_components_are_consistent():
    S = np.random.RandomState(0).laplace(size=(2000, 3))
    X = S @ [[1, 0.5, 0.2], [0, 1, 0.4], [0.3, 0, 1]]
    assert latent_consistency(FastICA(), X).value > 0.99


@pytest.mark.parametrize("alignment", ["permutation_scale", "affine"])
def test_a_constant_latent_counts_nothing(alignment):
    X = np.column_stack([ROWS, np.ones(200)])
    refits = [Shuffled(random_state=seed) for seed in range(2)]
    result = latent_consistency(refits, X, alignment=alignment)
    assert result.value == pytest.approx(2 / 3)


def test_latents_need_transform_and_a_known_alignment():
    with pytest.raises(TypeError, match="with `transform`, got LinearRegression"):
        latent_consistency([LinearRegression()] * 2, ROWS)
    with pytest.raises(ValueError, match="alignment must be one of .*got 'procrustes'"):
        latent_consistency(PCA(), ROWS, alignment="procrustes")


AGREE = make_refit_scorer({"dense1": Scale(2.0)}, n_refits=2)
CONSIST = make_refit_scorer(n_refits=2)


@pytest.mark.parametrize("scorer", [AGREE, CONSIST], ids=repr)
def test_scorers_are_their_functions_on_the_rows_given(scorer):
    fitted = small().fit(TABLE[:20])
    expected = scorer(fitted, TABLE[20:])
    assert 0 <= expected <= 1
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy(small(), TABLE[20:]) == expected
        assert repr(copy) == repr(scorer)


def test_agreement_scorer_is_the_agreement():
    params = {"n_samples": 50, "random_state": 4, "reference": "in_distribution"}
    scorer = make_refit_scorer(BEND, **params)
    expected = extrapolation_agreement(Chain(), ROWS, BEND, **params)
    assert scorer(Chain(), ROWS) == expected.value


def test_scorers_in_a_search_with_labels():
    labels = np.repeat(["seen", "moved"], 20)
    cv = ShuffleSplit(1, test_size=0.5, random_state=0)
    options = {
        "scoring": {"agree": AGREE, "consist": CONSIST},
        "refit": False,
        "cv": cv,
        "error_score": "raise",
        "return_train_score": True,
    }
    model, grid = small(observational="seen"), {"icm_weight": [0, 1]}
    plain = GridSearchCV(model, grid, **options).fit(TABLE, labels).cv_results_
    with sklearn.config_context(enable_metadata_routing=True):
        routed = GridSearchCV(model, grid, **options)
        routed = routed.fit(TABLE, environments=labels).cv_results_
    for name in ("mean_test_agree", "mean_train_agree", "mean_test_consist"):
        assert np.isfinite(plain[name]).all()
        assert plain[name] == pytest.approx(routed[name])


def test_a_scorer_ranks_the_identified_model_first():
    scores = [
        cross_validate(
            Chain(turned=turned),
            ROWS,
            scoring=make_refit_scorer(BEND),
            cv=2,
            error_score="raise",
        )["test_score"]
        for turned in (False, True)
    ]
    assert scores[0].min() > scores[1].max()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"interventions": {}}, "non-empty dict"),
        ({"distance": "l2"}, "one of"),
        ({"reference": None}, "one of .*got None"),
        ({"n_samples": 1}, "n_samples == 1, must be >= 4"),
        ({"n_refits": 0}, "n_refits == 0, must be >= 2"),
        ({"alignment": None}, "one of .*got None"),
    ],
)
def test_scorers_check_their_parameters_at_once(params, match):
    with pytest.raises((TypeError, ValueError), match=match):
        make_refit_scorer(**{"interventions": BEND, **params})


def test_scorers_ask_what_they_need_before_they_fit():
    with pytest.raises(TypeError, match="with `intervene`, got PCA"):
        make_refit_scorer(BEND)(PCA(), None)
