from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, sem
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from torch import nn

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import FixedGenerator, GraphGenerator, VAEGenerator
from sklearn_icm.interventions import Do, Shift
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.metrics import average_effect
from sklearn_icm.metrics._effects import AverageEffect, _mean_of_pairs

NAMES = ["u", "v", "w"]
Ends = namedtuple("Ends", "effect low high")
TABLE = pd.DataFrame(np.random.RandomState(0).randn(40, 3), columns=NAMES)


def chain(seed=0):
    """A linear chain, noise (2) -> cause (2) -> data (3), and its last weights."""
    torch.manual_seed(seed)
    graph = MechanismGraph(
        {"noise": (2,)},
        {"cause": ("noise", nn.Linear(2, 2)), "data": ("cause", nn.Linear(2, 3))},
    )
    weights = graph.mechanism("data").weight.detach().double().numpy()
    return FixedGenerator(graph, noise_std=0.5, random_state=0).fit(TABLE), weights


CHAIN, WEIGHTS = chain()


@given(
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    column=st.integers(0, 2),
    seed=st.integers(0, 50),
)
def test_effect_of_a_shift_in_a_linear_chain(shift, column, seed):
    query = {"n_samples": 20, "random_state": seed}
    result = average_effect(CHAIN, "cause", Shift(shift), None, column, **query)
    assert result.effect == pytest.approx(WEIGHTS[column] @ shift, abs=1e-5)
    # Every row moves by the same: the draws are not in doubt.
    assert result.high - result.low < 1e-5
    back = average_effect(CHAIN, "cause", None, Shift(shift), column, **query)
    assert back.effect == -result.effect


@given(a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_effect_of_setting_a_node(a, b):
    by_column = [
        average_effect(CHAIN, "cause", a, Do(b), k, n_samples=5, random_state=0).effect
        for k in range(3)
    ]
    assert by_column == pytest.approx(WEIGHTS.sum(1) * (a - b), abs=1e-5)


def test_no_difference_is_none():
    result = average_effect(CHAIN, "cause", Shift(1.0), Shift(1.0), 0)
    assert (result.effect, result.low, result.high) == (0, 0, 0)


def test_several_nodes_are_set_at_once():
    query = {"n_samples": 20, "random_state": 0}
    one = average_effect(CHAIN, None, {"cause": 1.0}, None, 0, **query)
    assert one == average_effect(CHAIN, "cause", 1.0, None, 0, **query)
    both = {"cause": 1.0, "data": Shift(2.0)}
    two = average_effect(CHAIN, None, both, {"cause": 1.0}, 0, **query)
    assert two.effect == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize(
    ("node", "a", "match"),
    [
        ({"cause": 1.0}, {}, r"node must be the name of a node, or None with dicts"),
        (None, 1.0, "must be dicts {node: intervention} if node is None, and none"),
        ("cause", {"cause": 1.0}, "got {'cause': 1.0} with node='cause'"),
    ],
)
def test_nodes_and_dicts_must_fit_together(node, a, match):
    with pytest.raises(TypeError, match=match):
        average_effect(CHAIN, node, a, None, 0)


def never(rows):
    return rows[:, 0] > 1e6


def test_an_event_that_no_draw_shows_is_not_certain():
    query = {"n_samples": 500, "random_state": 0}
    result = average_effect(CHAIN, "cause", 1.0, None, never, **query)
    assert result.effect == 0
    assert -0.02 < result.low < -0.001
    assert 0.001 < result.high < 0.02


@pytest.mark.parametrize("target", [1, "sick"])
def test_a_column_of_two_numbers_is_an_event(target):
    X = pd.DataFrame({"dose": np.random.RandomState(0).randn(60), "sick": 0})
    X.loc[:1, "sick"] = 1
    X["sick"] = X["sick"].astype("category")
    est = GraphGenerator(max_epochs=1, random_state=0).fit(X)
    result = average_effect(est, "dose", 1.0, 0.0, target, random_state=0)
    assert result.effect == 0
    assert result.low < 0 < result.high


@given(seed=st.integers(0, 100), n=st.integers(2, 60), share=st.floats(0, 1))
def test_the_interval_of_an_event_holds_the_effect_and_covers(seed, n, share):
    rng = np.random.RandomState(seed)
    first, second = rng.rand(2, n) < share
    result = Ends(*_mean_of_pairs(first, second, 0.95))
    assert result.effect == pytest.approx(np.mean(first * 1.0 - second))
    assert -1 <= result.low <= result.effect <= result.high <= 1
    assert result.low < result.high
    back = Ends(*_mean_of_pairs(second, first, 0.95))
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low))
    scaled = Ends(*_mean_of_pairs(3.0 * first + 1, 3.0 * second + 1, 0.95))
    if len(np.unique([first, second])) == 2:
        assert scaled.effect == pytest.approx(3 * result.effect)
        assert scaled.high == pytest.approx(3 * result.high)


def test_the_interval_of_an_event_covers_as_often_as_it_says():
    rng, covered = np.random.RandomState(0), 0
    for _ in range(400):
        first, second = rng.rand(40) < 0.05, rng.rand(40) < 0.02
        result = Ends(*_mean_of_pairs(first, second, 0.95))
        covered += result.low <= 0.03 <= result.high
    assert covered / 400 > 0.95 - 5 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_covers_as_often_as_it_says(level):
    # The square of a centred Gaussian column moves by 2 x d + d^2, d^2 on average.
    mean = CHAIN.intervene({"noise": 0.0}, n_samples=1, observation_noise=False)[0, 0]
    moved = WEIGHTS[0, 0]
    n_seeds = 200
    covered = 0
    for seed in range(n_seeds):
        result = average_effect(
            CHAIN,
            "cause",
            Shift([1.0, 0.0]),
            None,
            lambda rows: (rows[:, 0] - mean) ** 2,
            n_samples=100,
            level=level,
            random_state=seed,
        )
        covered += result.low <= moved**2 <= result.high
    sd = np.sqrt(level * (1 - level) / n_seeds)
    assert abs(covered / n_seeds - level) < 5 * sd


def test_the_interval_is_the_normal_one_of_paired_differences():
    under = [
        CHAIN.intervene(
            change, n_samples=30, random_state=check_random_state(0).randint(2**31 - 1)
        )
        for change in ({"cause": 1.0}, {})
    ]
    differences = (under[0] - under[1])[:, 0]
    for level in (0.5, 0.99):
        result = average_effect(
            CHAIN, "cause", 1.0, None, 0, n_samples=30, level=level, random_state=0
        )
        ends = norm.interval(level, differences.mean(), sem(differences))
        assert (result.low, result.high) == pytest.approx(ends)


def test_the_interval_shrinks_with_the_root_of_the_draws():
    widths = []
    for n in (100, 10_000):
        r = average_effect(CHAIN, "cause", 1.0, None, 0, n_samples=n, random_state=0)
        widths.append(r.high - r.low)
        assert r.n_samples == n
        assert r.low < r.effect < r.high
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.3)


def test_a_target_is_an_index_a_name_or_a_callable():
    query = {"n_samples": 50, "random_state": 0}
    targets = (1, np.int64(1), "v", lambda rows: rows[:, 1])
    results = {average_effect(CHAIN, "cause", 1.0, None, t, **query) for t in targets}
    assert len(results) == 1


def test_effects_on_given_rows():
    X = TABLE[:8]
    result = average_effect(CHAIN, "cause", Shift(1.0), None, "w", X=X)
    assert result.effect == pytest.approx(WEIGHTS[2].sum(), abs=1e-5)
    assert result.n_samples == 8
    with pytest.raises(ValueError, match="X must have at least 2 rows .* got 1"):
        average_effect(CHAIN, "cause", 1.0, None, "w", X=X[:1])


def test_seeds_and_states():
    effects = [
        average_effect(CHAIN, "cause", 1.0, None, 0, n_samples=9).effect
        for _ in range(2)
    ]
    assert effects[0] != effects[1]
    state = np.random.get_state()[1].copy()
    seeded = {
        average_effect(CHAIN, "cause", 1.0, None, 0, n_samples=9, random_state=s)
        for s in (3, np.random.RandomState(3))
    }
    assert len(seeded) == 1
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("make", [GenerativePipeline, make_pipeline])
def test_effects_behind_a_scaler_are_in_input_space(make):
    X = TABLE * [1, 10, 100]
    scale = StandardScaler().set_output(transform="pandas")
    vae = VAEGenerator(
        n_latents=1, hidden=(4,), max_epochs=1, bounds=None, random_state=0
    )
    if make is GenerativePipeline:
        pipe = GenerativePipeline([("scale", scale), ("vae", vae)])
    else:
        pipe = make_pipeline(scale, vae)
    pipe.fit(X)
    for target in (2, "w"):
        result = average_effect(pipe, "data", Shift(2.0), None, target, n_samples=10)
        assert result.effect == pytest.approx(2 * X["w"].std(ddof=0), rel=1e-4)
        result = average_effect(pipe, "data", Shift(2.0), None, target, X=X[:5])
        assert result.effect == pytest.approx(2 * X["w"].std(ddof=0), rel=1e-4)


def test_the_result_speaks():
    result = AverageEffect(1.23456, 1.0, 1.5, 0.95, 100, "the draws only")
    shown = "AverageEffect(1.235, 95 % interval 1 to 1.5 of the draws only; 100 pairs)"
    assert repr(result) == shown


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"node": "effect"}, r"Unknown node 'effect'; the nodes are \['noise'"),
        ({"target": "x"}, r"from 0 to 2 or one of the names \['u', 'v', 'w'\].*'x'"),
        ({"target": 3}, "a column index from 0 to 2 .*got 3"),
        ({"target": -1}, "a column index from 0 to 2 .*got -1"),
        ({"target": True}, "a column index from 0 to 2 .*got True"),
        ({"target": lambda rows: rows}, r"a finite number for each .* \(1000, 3\)"),
        ({"target": lambda rows: rows[:, 0] * np.inf}, "1000 values that are not"),
        ({"n_samples": 1}, "n_samples == 1, must be >= 2"),
        ({"level": 1.0}, "level must be a number between 0 and 1, got 1.0"),
    ],
)
def test_what_effects_refuse(params, message):
    given = {"node": "cause", "a": 1.0, "b": None, "target": 0, **params}
    with pytest.raises(ValueError, match=message):
        average_effect(CHAIN, **given)


def test_effects_need_a_fitted_generator():
    with pytest.raises(TypeError, match="needs a generator .* got PCA"):
        average_effect(PCA().fit(TABLE), "data", 1.0, None, 0)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        average_effect(FixedGenerator(), "data", 1.0, None, 0)
