from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import label
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.exceptions import ClippedInterventionWarning
from sklearn_icm.generators import FixedGenerator, VAEGenerator
from sklearn_icm.interventions import (
    Clip,
    Do,
    Intervention,
    Noise,
    Resample,
    Scale,
    Shift,
    Units,
)
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.metrics import counterfactual_errors

MIXING = np.array([[1.0, 0.5], [0.3, 2.0]])
# Squares of relative errors of float32, with room for the condition of MIXING.
EXACT = 1e-10


class Part(nn.Module):
    """One entry of the noise, scaled."""

    def __init__(self, entry, scale):
        super().__init__()
        self.entry, self.scale = entry, scale

    def forward(self, noise):
        return self.scale * noise[:, [self.entry]]


class Mixed(nn.Module):
    def forward(self, a, c):
        return torch.cat([a, c], 1) @ torch.tensor(MIXING.T).to(a)


def world():
    """Two independent causes, a = 2 z_0 and c = z_1, of two columns."""
    return MechanismGraph(
        {"noise": (2,)},
        {
            "a": ("noise", Part(0, 2.0)),
            "c": ("noise", Part(1, 1.0)),
            "data": (("a", "c"), Mixed()),
        },
    )


def rows(n=60, seed=0):
    noise = np.random.RandomState(seed).randn(n, 2)
    noise -= noise.mean(0)
    return noise * [2, 1] @ MIXING.T


def causes(X):
    """The true a and c of rows."""
    return np.asarray(X) @ np.linalg.inv(MIXING).T


def model(kept=1.0):
    """The true world, which finds `kept` times the noise behind a row.

    1 is a perfect model, 0 one that ignores the rows: it takes all for the mean row.
    """
    fixed = FixedGenerator(world()).fit(rows())
    back = torch.tensor(np.linalg.inv(MIXING * [2, 1]).T * kept)
    fixed._fitted.model.abduct = lambda x: x @ back.to(x)
    return fixed


PERFECT, USELESS = model(), model(0.0)


def error_of(axiom, estimator, X, interventions=None, **params):
    """One number of the table, or what is said in its place."""
    report = counterfactual_errors(estimator, X, interventions, **params)
    value = report.table_[axiom].item()
    if np.isnan(value):
        raise ValueError(report.sentences_.xs(axiom, level=1).item())
    return value


composition_error = partial(error_of, "composition")
reversibility_error = partial(error_of, "reversibility")
effectiveness_error = partial(error_of, "effectiveness")
minimality_error = partial(error_of, "minimality")
ASKING = [reversibility_error, effectiveness_error, minimality_error]
AXIOMS = ["composition", "reversibility", "effectiveness", "minimality"]
REVERSIBLE = [
    {"a": Shift(1.0)},
    {"a": Scale(2.0)},
    {"c": Scale(-3.0) >> Shift(1.0)},
    {"noise": Units(0, Shift(1.0))},
    {"c": Shift(2.0) >> Scale(0.5)},
    {"a": Units(0, Scale(-1))},
]


@given(
    change=st.sampled_from(REVERSIBLE),
    seed=st.integers(0, 100),
    residual=st.sampled_from(["keep", "drop"]),
    n_rounds=st.integers(1, 3),
)
def test_a_perfect_model_obeys_all_axioms(change, seed, residual, n_rounds):
    query = {"n_rounds": n_rounds, "residual": residual}
    report = counterfactual_errors(PERFECT, rows(seed=seed), change, **query)
    assert (report.table_[AXIOMS] < EXACT).to_numpy().all()


def test_a_given_simulator_is_perfect_up_to_its_search():
    fixed, X = FixedGenerator(world()).fit(rows()), rows(10)
    assert composition_error(fixed, X) < 1e-5


def test_a_model_that_ignores_the_rows_is_useless():
    X, change = rows(), {"a": Scale(2.0)}
    assert composition_error(USELESS, X, n_rounds=3) == pytest.approx(1)
    assert reversibility_error(USELESS, X, change) == pytest.approx(1)
    assert effectiveness_error(USELESS, X, {"a": Shift(1.0)}) == pytest.approx(1)
    assert minimality_error(USELESS, X, change, keep=causes) == pytest.approx(1)
    with pytest.raises(ValueError, match="no hidden value that differs between"):
        minimality_error(USELESS, X, change)
    with pytest.raises(ValueError, match="Node 'c' must differ between rows"):
        minimality_error(USELESS, X, change, keep=["c"])


def test_keeping_the_residual_hides_a_useless_model_from_reversibility():
    error = reversibility_error(USELESS, rows(), {"a": Shift(1.0)}, residual="keep")
    assert error < EXACT


@given(kept=st.floats(0.1, 1.5), n_rounds=st.integers(1, 4))
def test_errors_of_a_shrinking_abduction_have_closed_forms(kept, n_rounds):
    X, shift = rows(), 1.5
    missing = (kept - 1) * (kept * causes(X)[:, 0] + shift)
    expected = {
        "composition": (1 - kept**n_rounds) ** 2,
        "effectiveness": np.mean(missing**2) / shift**2,
        "minimality": (1 - kept) ** 2,
    }
    change = {"a": Shift(shift)}
    report = counterfactual_errors(model(kept), X, change, n_rounds=n_rounds)
    found = report.table_.iloc[0][list(expected)].to_dict()
    assert found == pytest.approx(expected, rel=1e-4, abs=EXACT)


@pytest.mark.parametrize("n", [1, 5])
def test_the_same_row_throughout_leaves_nothing_to_compare_with(n):
    X, change = np.full((n, 2), 0.1), {"a": Shift(1.0)}
    with pytest.raises(ValueError, match="X must differ between rows"):
        composition_error(PERFECT, X)
    with pytest.raises(ValueError, match="X must differ between rows"):
        reversibility_error(PERFECT, X, change)
    with pytest.raises(ValueError, match="no hidden value that differs between rows"):
        minimality_error(PERFECT, X, change)
    with pytest.raises(ValueError, match="must differ between rows"):
        minimality_error(PERFECT, X, change, keep=causes)
    assert effectiveness_error(PERFECT, X, change) < EXACT


@pytest.mark.parametrize("neutral", [Shift(0.0), Scale(1.0), lambda value: value])
def test_effectiveness_needs_a_change(neutral):
    with pytest.raises(ValueError, match="Node 'a' is to change by nothing"):
        effectiveness_error(PERFECT, rows(), {"a": neutral})


@pytest.mark.parametrize(
    "change",
    [
        Do(1.0),
        Clip(0.0, 1.0),
        Units(0, 0.0),
        Noise(1.0),
        Resample([[0.0], [1.0]]),
        Shift(1.0) >> Do(0.0),
        Units(0, 2.0),
        lambda value: value,
        3.0,
    ],
    ids=label,
)
def test_what_forgets_needs_an_inverse(change):
    with pytest.raises(ValueError, match="no inverse that is known.*node 'a'"):
        reversibility_error(PERFECT, rows(), {"a": change})


def test_a_scale_of_zero_has_no_inverse():
    for change in (Scale(0.0), Scale(0.0) >> Shift(1.0)):
        with pytest.raises(ValueError, match="multiplies by 0.*node 'a'"):
            reversibility_error(PERFECT, rows(), {"a": change})


class Power(Intervention):
    """An intervention of a user's own, which is undone by another power."""

    def __init__(self, power):
        self.power = power

    def __call__(self, value, here=None):
        return value.sign() * value.abs() ** self.power

    def inverse(self):
        return Power(1 / self.power)


class Forgetful(Power):
    def inverse(self):
        return Shift(0.0)


def test_an_inverse_of_ones_own_is_used():
    X = rows()
    assert reversibility_error(PERFECT, X, {"a": Power(3)}) < EXACT
    error = reversibility_error(PERFECT, X, {"a": Forgetful(2)}, units="common")
    a = causes(X)[:, 0]
    lost = np.sum(np.outer(np.sign(a) * a**2 - a, MIXING[:, 0]) ** 2) / np.sum(X**2)
    assert error == pytest.approx(lost, rel=1e-4)


def test_several_nodes_are_undone_one_after_the_other():
    X = rows()
    change = {"noise": Shift([0.5, -1.0]), "a": Scale(3.0), "c": Shift(2.0)}
    assert reversibility_error(PERFECT, X, change, n_rounds=2) < EXACT
    # `a` and `c` are read from the rows; the noise only explains them.
    assert effectiveness_error(PERFECT, X, change) < EXACT
    assert effectiveness_error(PERFECT, X, change, read="noise") > 1e-3


def test_random_interventions_are_read_as_they_were_drawn():
    X, change = rows(), {"a": Noise(1.0)}
    for random_state in (0, np.random.RandomState(0), None):
        error = effectiveness_error(PERFECT, X, change, random_state=random_state)
        assert error < EXACT


def test_effectiveness_by_a_predictor():
    X, change = rows(), {"a": Shift(1.5)}
    perfect = {"read": lambda r: causes(r)[:, 0], "target": lambda a: a + 1.5}
    assert effectiveness_error(PERFECT, X, change, **perfect) < EXACT
    regressor = LinearRegression().fit(X, causes(X)[:, 0])
    wanted = causes(X)[:, 0] + 1.5
    parts = {"read": regressor, "target": wanted}
    assert effectiveness_error(PERFECT, X, change, **parts) < EXACT
    # Nothing arrives where the residual is all that the rows have.
    nothing = {"a": Shift(0.0)}
    assert effectiveness_error(PERFECT, X, nothing, **perfect) == pytest.approx(1)
    half = {"a": Shift(0.75)}
    assert effectiveness_error(PERFECT, X, half, **perfect) == pytest.approx(0.25)
    both = {"read": causes, "target": [1.0, 0.0]}
    set_both = {"a": 1.0, "c": 0.0}
    assert effectiveness_error(PERFECT, X, set_both, **both) < EXACT


class Constant(nn.Module):
    def forward(self, noise):
        return torch.ones(len(noise), 1).to(noise)


def test_values_that_never_differ_are_not_asked_to_stay():
    graph = MechanismGraph(
        {"noise": (2,)},
        {"dead": ("noise", Constant()), "data": ("noise", nn.Flatten())},
    )
    fixed = FixedGenerator(graph).fit(rows())
    fixed._fitted.model.abduct = lambda x: 0.9 * x
    error = minimality_error(fixed, rows(), {"noise": Units(0, Shift(1.0))})
    assert error == pytest.approx(0.01, rel=1e-4)


def test_minimality_counts_what_should_stay():
    X, shift = rows(), 1.5
    change = {"a": Shift(shift)}
    error = minimality_error(PERFECT, X, change, keep=lambda r: r[:, 0])
    assert error == pytest.approx(shift**2 / X[:, 0].var(), rel=1e-4)
    assert minimality_error(PERFECT, X, change, keep=["c"]) < EXACT
    error = minimality_error(PERFECT, X, change, keep=["a", "c"])
    moved = shift**2 / causes(X)[:, 0].var()
    assert error == pytest.approx(moved / 2, rel=1e-4)
    with pytest.raises(ValueError, match=r"on \['noise'\] leaves alone no hidden"):
        minimality_error(PERFECT, X, {"noise": Shift(shift)})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"interventions": {"b": 1.0}}, r"Unknown node 'b'; the nodes are \['noise'"),
        ({"residual": "lose"}, "residual must be 'keep' or 'drop', got 'lose'"),
        ({"abduction": "guess"}, r"abduction must be one of .* got 'guess'"),
        ({"estimator": FixedGenerator()}, "is not fitted yet"),
    ],
)
@pytest.mark.parametrize("axiom", ASKING)
def test_what_axioms_refuse(axiom, params, message):
    given = {"estimator": PERFECT, "X": rows(), "interventions": {"a": Shift(1.0)}}
    with pytest.raises((ValueError, NotFittedError), match=message):
        axiom(**{**given, **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"read": "data"}, r"read must name hidden nodes, \['noise', 'a', 'c'\]"),
        ({"read": causes}, "given as read= needs a target"),
        ({"target": 1.0}, "target is what a predictor should read"),
        ({"read": "a", "target": 1.0}, "target is what a predictor should read"),
        ({"read": causes, "target": [1.0] * 3}, "target must broadcast"),
        ({"read": len, "target": 1.0}, r"predictor must give .* shape \(\)"),
        ({"read": lambda r: r[:, 0] * np.nan, "target": 1.0}, "finite values"),
        ({"interventions": {"data": Shift(1.0)}}, r"\['data'\], is the data, so"),
        ({"interventions": {"a": 1.0, "data": Shift(1.0)}}, "is the data, so there"),
    ],
)
def test_what_effectiveness_refuses(params, message):
    given = {"interventions": {"a": Shift(1.0)}, **params}
    with pytest.raises(ValueError, match=message):
        effectiveness_error(PERFECT, rows(), **given)


def test_what_minimality_and_rounds_refuse():
    X, change = rows(), {"a": Shift(1.0)}
    with pytest.raises(ValueError, match="keep must name hidden nodes.*'b'"):
        minimality_error(PERFECT, X, change, keep=["b"])
    with pytest.raises(ValueError, match="keep must name hidden nodes"):
        minimality_error(PERFECT, X, change, keep="c")
    for n_rounds in (0, -1):
        with pytest.raises(ValueError, match="n_rounds == .* must be >= 1"):
            composition_error(PERFECT, X, n_rounds=n_rounds)
        with pytest.raises(ValueError, match="n_rounds == .* must be >= 1"):
            reversibility_error(PERFECT, X, change, n_rounds=n_rounds)


def test_axioms_need_a_generator():
    with pytest.raises(TypeError, match="explains given rows .*, got PCA"):
        composition_error(PCA().fit(rows()), rows())


@pytest.mark.parametrize("kind", ["generative", "plain", "alone"])
def test_pipelines_and_frames_give_what_the_generator_gives(kind):
    X = pd.DataFrame(rows() * [1, 5], columns=["u", "v"])
    vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    alone = vae.fit(X)
    other = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    same = FunctionTransformer(feature_names_out="one-to-one").set_output(
        transform="pandas"
    )
    steps = [("same", same), ("vae", other)]
    make = {
        "generative": lambda: GenerativePipeline(steps),
        "plain": lambda: make_pipeline(same, other),
        "alone": lambda: make_pipeline(other),
    }
    pipe, change = make[kind]().fit(X), {"noise": Units(0, Shift(1.0))}
    regressor = LinearRegression().fit(X, X["u"])
    assert composition_error(pipe, X) == pytest.approx(composition_error(alone, X))
    for axiom in ASKING:
        assert axiom(pipe, X, change) == pytest.approx(axiom(alone, X, change))
    error = minimality_error(pipe, X, change, keep=regressor)
    expected = minimality_error(alone, X, change, keep=lambda r: r[:, 0])
    assert error == pytest.approx(expected, rel=1e-4)


def test_errors_behind_a_scaler_are_in_input_space():
    X = rows() * [1, 100]
    pipe = GenerativePipeline(
        [
            ("scale", StandardScaler()),
            ("vae", VAEGenerator(n_latents=1, max_epochs=2, random_state=0)),
        ]
    ).fit(X)
    rebuilt = pipe.intervene({}, X=X, residual="drop")
    expected = np.sum((rebuilt - X) ** 2) / np.sum((X - X.mean(0)) ** 2)
    assert composition_error(pipe, X, units="common") == pytest.approx(expected)


def test_clipping_is_said_once():
    bounded = FixedGenerator(world(), bounds="data").fit(rows())
    bounded._fitted.model.abduct = PERFECT._fitted.model.abduct
    with pytest.warns(ClippedInterventionWarning) as said:
        error = effectiveness_error(bounded, rows(), {"a": 50.0})
    assert len(said) == 1
    assert error > 0.1


def test_images_of_a_fitted_model(fitted, pairs):
    X = pairs.data[:40]
    error = composition_error(fitted, X)
    assert 0 < error < composition_error(fitted, X, n_rounds=3)
    change = {"noise": Units(0, Shift(1.0))}
    assert effectiveness_error(fitted, X, change) > 0
    assert minimality_error(fitted, X, change) > 0
