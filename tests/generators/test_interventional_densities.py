"""Densities under interventions: laws of all families, and closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import make_linear_chain, make_scm
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.interventions import (
    Clip,
    Do,
    Noise,
    Orthogonal,
    Permute,
    Resample,
    Rotate,
    Scale,
    Shift,
    Stretch,
    SwapMechanism,
    Translate,
    Units,
    Where,
)

N = 4
RNG = np.random.RandomState(0)
X = RNG.randn(40, N) @ RNG.randn(N, N) + RNG.randn(N)
SCM = make_scm(300, n_nodes=4, mechanism="linear", random_state=2)
CHAIN = ChainGenerator(max_iter=60, random_state=0).fit(X)
CONV = ChainGenerator(kind="conv", max_iter=60, random_state=0).fit(X)
PAIRS = RNG.randn(80, 2) @ [[1.0, 0.8], [0.0, 0.5]]


@pytest.fixture(scope="module")
def linear():
    """Tests must not change it."""
    est = GraphGenerator(
        SCM.graph, mechanism="linear", noise="normal", max_epochs=1, random_state=0
    )
    return est.fit(SCM.data)


@pytest.fixture(scope="module")
def curved():
    """Two columns: a bent mechanism whose noise is no normal one."""
    cause = RNG.randn(400)
    effect = np.tanh(2 * cause) + RNG.exponential(0.3, 400)
    est = GraphGenerator([("x0", "x1")], max_epochs=5, random_state=0)
    return est.fit(np.c_[cause, effect])


@pytest.fixture(scope="module")
def leveled():
    dose = RNG.randn(300)
    group = np.where(RNG.rand(300) < 1 / (1 + np.exp(-dose)), "new", "old")
    level = (group == "new") + 0.5 * RNG.randn(300)
    table = pd.DataFrame({"dose": dose, "group": group, "level": level})
    edges = [("dose", "group"), ("group", "level")]
    return GraphGenerator(edges, max_epochs=2, random_state=0).fit(table), table


@pytest.fixture(scope="module")
def vae():
    return VAEGenerator(n_latents=2, hidden=(8,), max_epochs=20, random_state=0).fit(
        PAIRS
    )


def integral(density, low=-12.0, high=12.0, n=241):
    """Of a density of rows (n, 2), by sums over a grid."""
    axis = np.linspace(low, high, n)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return np.exp(density(grid)).sum() * (axis[1] - axis[0]) ** 2


# ------------------------------------------------------------------ closed forms
ROTATION = Orthogonal(1)
AFFINE = [
    {},
    {"dense1": Scale(2.0)},
    {"dense1": Do(1.5)},
    {"dense1": 1.5},
    {"dense1": Units([0, 2], Shift(1.0)) >> ROTATION},
    {"noise": Where([True, False, False, True], Scale(-3.0)), "dense1": Shift(2.0)},
    {"data": Permute([1, 2, 3, 0]) >> Scale([1.0, -2.0, 3.0, 0.1]) >> Shift(1.0)},
    {"dense1": Scale(0.5), "data": ROTATION},
]


def act(change, values):
    """What an intervention makes of columns of values, by numpy."""
    steps = getattr(change, "steps", [change])
    for step in steps:
        if isinstance(step, Units):
            values = values.copy()
            values[list(step.index)] = act(step.then, values[list(step.index)])
        elif isinstance(step, Where):
            values = np.where(step.mask[:, None], act(step.then, values), values)
        elif isinstance(step, Permute):
            values = values[list(step.order)]
        elif isinstance(step, Orthogonal):
            values = step(torch.eye(N, dtype=torch.float64)).numpy().T @ values
        elif isinstance(step, Scale):
            values = values * np.reshape(step.value, (-1, 1))
        elif isinstance(step, Shift):
            values = values + step.value
        else:
            values = np.full_like(values, getattr(step, "value", step))
    return values


@pytest.mark.parametrize("changes", AFFINE, ids=str)
def test_a_chain_is_normal_under_affine_interventions(changes):
    def mean(z):
        for name, weight in zip(["noise", "dense1"], CHAIN.weights_, strict=True):
            z = weight @ (act(changes[name], z) if name in changes else z)
        return z + CHAIN.offset_[:, None]

    centre = mean(np.zeros((N, 1)))
    matrix = mean(np.eye(N)) - centre
    covariance = matrix @ matrix.T + CHAIN.noise_variance_ * np.eye(N)
    if "data" in changes:
        shift = act(changes["data"], np.zeros((N, 1)))
        outer = act(changes["data"], np.eye(N)) - shift
        centre, covariance = outer @ centre + shift, outer @ covariance @ outer.T
    expected = multivariate_normal(centre[:, 0], covariance).logpdf(X)
    found = CHAIN.score_samples(X, interventions=changes)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"conv1": Stretch(1.5)},
        {"conv1": Translate(1, cyclic=True) >> Scale(2.0)},
        {"conv1": Stretch(0.7), "data": Translate(1, cyclic=True)},
    ],
    ids=str,
)
def test_a_convolutional_chain_is_as_its_draws(changes):
    drawn = CONV.intervene(changes, n_samples=100_000, random_state=0)
    normal = multivariate_normal(drawn.mean(0), np.cov(drawn.T))
    found = CONV.score_samples(drawn[:2000], interventions=changes)
    assert abs(found.mean() - normal.logpdf(drawn[:2000]).mean()) < 0.01


def test_another_chain_s_mechanism_is_taken():
    other = ChainGenerator(max_iter=60, random_state=1).fit(X + 1)
    swap = {"dense1": SwapMechanism(other, "dense1") >> Scale(2.0)}
    matrix = CHAIN.weights_[1] @ (2 * other.weights_[0])
    covariance = matrix @ matrix.T + CHAIN.noise_variance_ * np.eye(N)
    expected = multivariate_normal(CHAIN.offset_, covariance).logpdf(X)
    np.testing.assert_allclose(CHAIN.score_samples(X, interventions=swap), expected)
    whole = {"data": SwapMechanism(other, "data")}
    gap = other.offset_ - CHAIN.offset_
    swapped = CHAIN.score_samples(X + gap, interventions=whole)
    matrix = other.weights_[1] @ CHAIN.weights_[0]
    covariance = matrix @ matrix.T + CHAIN.noise_variance_ * np.eye(N)
    expected = multivariate_normal(CHAIN.offset_, covariance).logpdf(X)
    np.testing.assert_allclose(swapped, expected)


def structure(est):
    """Weights, constants, scales and noise of a linear graph, from its own answers."""
    origin, *units = est.inverse_transform(np.vstack([np.zeros(N), np.eye(N)]))
    total = np.transpose(units - origin)
    scales = total.diagonal()
    inverse = np.linalg.inv(total) * scales[:, None]
    noise = est.transform(SCM.data)
    return (
        np.eye(N) - inverse,
        inverse @ origin,
        scales,
        noise.mean(0),
        noise.std(0, ddof=1),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x0": Shift(1.0)},
        {"x1": Scale(-2.0) >> Shift(0.5), "x2": Units(0, Scale(0.5))},
        {"x1": 0.7},
        {"x0": Do(0.7) >> Shift(1.0), "x3": Scale(3.0)},
        {"x2": Where([False], Do(1.0)), "data": Permute([1, 0, 3, 2]) >> Scale(2.0)},
    ],
    ids=str,
)
def test_a_linear_graph_has_the_density_of_the_changed_equations(linear, changes):
    weights, constants, scales, means, deviations = structure(linear)
    slope, offset, is_set = np.ones(N), np.zeros(N), np.zeros(N, bool)
    for name, change in changes.items():
        if name != "data":
            low, high = act(change, np.array([[0.0, 1.0]]))[0]
            k = int(name[1])
            offset[k], slope[k], is_set[k] = low, high - low, high == low
    rows, volume = SCM.data.copy(), 0.0
    if "data" in changes:
        rows, volume = (rows / 2)[:, [1, 0, 3, 2]], N * np.log(2)
    # A column that is set is what it is in the row.
    kept = ~is_set
    total = np.linalg.inv(
        np.eye(kept.sum()) - (slope[:, None] * weights)[kept][:, kept]
    )
    given = rows[:, is_set] @ (slope[:, None] * weights)[kept][:, is_set].T
    mean = slope * (constants + scales * means) + offset
    spread = (slope * scales * deviations)[kept]
    normal = multivariate_normal(
        np.zeros(kept.sum()), total @ np.diag(spread**2) @ total.T
    )
    expected = normal.logpdf(rows[:, kept] - (given + mean[kept]) @ total.T) - volume
    found = linear.score_samples(SCM.data, interventions=changes)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------ laws
def test_no_intervention_is_the_density_itself(linear, curved, leveled, vae):
    model, table = leveled
    rows = curved.sample(9, random_state=0)
    asked = [(linear, SCM.data), (curved, rows), (model, table), (vae, PAIRS)]
    for est, given in [(CHAIN, X), (CONV, X), *asked]:
        found = est.score_samples(given)
        same = [{}, {"data": Scale(1.0)}]
        for changes in same:
            expected = est.score_samples(given, interventions=changes)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"x0": Scale(-1.5) >> Shift(0.5)},
        {"x1": Scale(2.0), "x0": Shift(1.0)},
        {"data": Orthogonal(0) >> Scale([0.5, 3.0])},
    ],
    ids=str,
)
def test_densities_of_two_columns_are_one_together(curved, vae, changes):
    def of(est, changes):
        return integral(lambda rows: est.score_samples(rows, interventions=changes))

    assert abs(of(curved, changes) - 1) < 2e-3
    if "data" in changes:
        total = integral(
            lambda rows: vae.score_samples(
                rows, interventions=changes, n_importance=32
            ),
            n=81,
        )
        assert 0.9 < total < 1.02


def test_what_a_hard_intervention_leaves_is_one_together(curved, leveled):
    effect = np.linspace(-12, 12, 2001)
    rows = np.c_[np.full(2001, 0.7), effect]
    density = np.exp(curved.score_samples(rows, interventions={"x0": 0.7}))
    assert abs(density.sum() * 0.012 - 1) < 1e-3
    model, _ = leveled
    for changes in ({"dose": 1.0}, {"dose": Do(1.0), "level": Scale(2.0)}):
        total = sum(
            np.exp(
                model.score_samples(
                    pd.DataFrame({"dose": 1.0, "group": group, "level": effect}),
                    interventions=changes,
                )
            ).sum()
            for group in ("new", "old")
        )
        assert abs(total * 0.012 - 1) < 1e-3


def test_setting_a_root_leaves_the_other_factors_as_they_are(linear, leveled):
    # What the factor of the root was, which is the same whatever the other columns are.
    rows = SCM.data.copy()
    root = next(name for name, parents in SCM.graph.items() if not parents)
    rows[:, int(root[1])] = 0.3
    at, other = (
        linear.score_samples(rows, interventions={root: value}) for value in (0.3, 2.0)
    )
    gap = linear.score_samples(rows) - at
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)
    # Of a row with another value, what is left is given that value.
    assert np.array_equal(at, other)
    model, table = leveled
    table = table.assign(dose=0.4)
    gap = model.score_samples(table) - model.score_samples(
        table, interventions={"group": Do("old")}
    )
    # The chance of its own level.
    chances = np.exp(gap[table["group"] == "old"]), np.exp(gap[table["group"] == "new"])
    np.testing.assert_allclose(chances[0][0] + chances[1], 1, atol=1e-9)


def test_swapped_columns(linear, leveled):
    other = GraphGenerator(
        SCM.graph, mechanism="linear", noise="normal", max_epochs=1, random_state=0
    ).fit(SCM.data[:50] * 2 + 1)
    swapped = {name: SwapMechanism(other, name) for name in SCM.graph}
    found = linear.score_samples(SCM.data, interventions=swapped)
    # With the noise of this model, which is standardised there and here.
    drawn = linear.intervene(swapped, n_samples=50_000, random_state=0)
    normal = multivariate_normal(drawn.mean(0), np.cov(drawn.T)).logpdf(SCM.data)
    assert abs(found - normal).mean() < 0.05 * abs(normal).mean()
    model, table = leveled
    same = {"group": SwapMechanism(model, "group")}
    assert np.array_equal(
        model.score_samples(table, interventions=same), model.score_samples(table)
    )


def test_missing_values_are_left_out():
    rows = np.where(RNG.rand(*SCM.data.shape) < 0.1, np.nan, SCM.data)
    est = GraphGenerator(
        SCM.graph, mechanism="linear", missing="available", random_state=0
    ).fit(rows)
    shifted = rows + [1.0, 0, 0, 0]
    children = [k for k, ps in SCM.graph.items() if "x0" in ps]
    found = est.score_samples(
        shifted,
        interventions={"x0": Shift(1.0), **{k: Shift(0.0) for k in children}},
    )
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="missing values.*complete rows"):
        est.score_samples(rows, interventions={"data": Scale(2.0)})


def test_scalers_shift_by_the_logarithm_of_their_volume(vae):
    for model, changes in [
        (ChainGenerator(max_iter=30, random_state=0), {"dense1": Scale(2.0)}),
        (GraphGenerator(mechanism="linear", max_epochs=1), {"x1": Shift(1.0)}),
        (VAEGenerator(n_latents=2, hidden=(4,), max_epochs=2), {"data": Scale(2.0)}),
    ]:
        pipe = GenerativePipeline([("scale", StandardScaler()), ("model", model)])
        pipe.fit(X)
        inner = pipe["model"].score_samples(
            pipe["scale"].transform(X), interventions=changes
        )
        found = pipe.score_samples(X, interventions=changes)
        volume = np.log(pipe["scale"].scale_).sum()
        np.testing.assert_allclose(found, inner - volume)


def bent_rows(n, seed, shift=0.0):
    rng = np.random.RandomState(seed)
    cause = rng.uniform(-3, 3, n) + shift
    effect = cause**2 / 3 + 0.3 * rng.randn(n)
    return np.c_[cause, effect, np.sin(effect) + 0.3 * rng.randn(n)]


@pytest.mark.parametrize("seed", range(3))
def test_the_right_intervention_is_likelier_than_wrong_ones_and_ghosts(seed):
    est = GraphGenerator([("x0", "x1"), ("x1", "x2")], max_epochs=20, random_state=0)
    est.fit(bent_rows(600, seed))
    usual, environment = bent_rows(300, seed + 10), bent_rows(300, seed + 20, 0.8)

    def score(rows, changes):
        return est.score_samples(rows, interventions=changes).mean()

    right = {"x0": Shift(0.8)}
    best = score(environment, right)
    for wrong in ({}, {"x0": Shift(-0.8)}, {"x1": Shift(0.8)}, {"x2": Scale(2.0)}):
        assert score(environment, wrong) < best
    # Usual rows that have the mean of the environment, and no more of it.
    ghosts = usual + environment.mean(0) - usual.mean(0)
    assert score(ghosts, right) < best


@pytest.mark.parametrize("seed", range(3))
def test_the_right_kernel_is_likelier(seed):
    made = make_linear_chain(400, n_features=6, random_state=seed)
    labels = made.environments
    seen = labels == "observational"
    model = ChainGenerator(random_state=0).fit(made.data[seen], inputs=made.noise)
    drawn = model.intervene({"dense1": Scale(2.0)}, n_samples=400, random_state=seed)
    scores = [
        model.score(drawn)
        if not changes
        else model.score_samples(drawn, interventions=changes).mean()
        for changes in ({"dense1": Scale(2.0)}, {}, {"dense1": Scale(0.5)})
    ]
    assert scores[0] > max(scores[1:])


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    "change",
    [
        Clip(0.0, 1.0),
        Noise(1.0),
        lambda v: 2 * v,
        Scale(2.0) >> Clip(0.0, 1.0),
        Units([0], Noise(1.0)),
        Where([True], np.tanh),
    ],
    ids=["clip", "noise", "callable", "clip at last", "units", "where"],
)
def test_what_is_not_affine_has_no_density(change, linear, vae):
    for est, rows, nodes in [
        (CHAIN, X, ["dense1", "data"]),
        (linear, SCM.data, ["x1", "data"]),
        (vae, PAIRS, ["data"]),
    ]:
        for node in nodes:
            with pytest.raises(ValueError, match=f"known.*on node '{node}'.*affine"):
                est.score_samples(rows, interventions={node: change})


def test_rows_in_fewer_dimensions_have_no_density(linear, vae):
    for change in (0.0, Scale(0.0), Units([0], 1.0)):
        for est, rows in [(CHAIN, X), (linear, SCM.data), (vae, PAIRS)]:
            with pytest.raises(ValueError, match="'data' has no inverse.*distance"):
                est.score_samples(rows, interventions={"data": change})
    with pytest.raises(ValueError, match="has no inverse"):
        CONV.score_samples(X, interventions={"data": Stretch(0.5)})


def test_nodes_without_a_density_are_named(linear, leveled, vae):
    with pytest.raises(ValueError, match=r"interventions on \['noise'\].*columns"):
        linear.score_samples(SCM.data, interventions={"noise": Scale(2.0)})
    with pytest.raises(ValueError, match=r"on \['dense1'\].*encoder.*'data'"):
        vae.score_samples(PAIRS, interventions={"dense1": Scale(2.0)})
    with pytest.raises(ValueError, match="encoder"):
        vae.score_samples(PAIRS, interventions={"data": SwapMechanism(vae, "data")})
    with pytest.raises(ValueError, match="Unknown node 'y'"):
        CHAIN.score_samples(X, interventions={"y": 1.0})
    with pytest.raises(TypeError, match="interventions must be a dict"):
        linear.score_samples(SCM.data, interventions=[1.0])
    model, table = leveled
    for change in (Resample([["new"]]), lambda v: v):
        with pytest.raises(ValueError, match="No density is known"):
            model.score_samples(table, interventions={"group": change})
    with pytest.raises(ValueError, match="changes column 'group'"):
        model.score_samples(table, interventions={"data": Scale(2.0)})
    whole = Units([0, 2], Scale(2.0))
    found = model.score_samples(table, interventions={"data": whole})
    halves = table.assign(dose=table["dose"] / 2, level=table["level"] / 2)
    np.testing.assert_allclose(found, model.score_samples(halves) - 2 * np.log(2))
    confounded = GraphGenerator(
        [("H", 0), ("H", 1)], unobserved={"H": 1}, max_epochs=1, random_state=0
    ).fit(PAIRS)
    with pytest.raises(ValueError, match="unobserved nodes.*'data' have one"):
        confounded.score_samples(PAIRS, interventions={"x0": 1.0})
    found = confounded.score_samples(2 * PAIRS, interventions={"data": Scale(2.0)})
    np.testing.assert_allclose(found, confounded.score_samples(PAIRS) - 2 * np.log(2))


def test_mechanisms_of_other_kinds_have_no_density(linear, vae):
    square = VAEGenerator(n_latents=N, hidden=(N,), max_epochs=1, random_state=0)
    swap = SwapMechanism(square.fit(X), "dense1")
    with pytest.raises(ValueError, match="mechanisms are linear.*'dense1'"):
        CHAIN.score_samples(X, interventions={"dense1": swap})
    # The second column of another table reads the noise of the second one here.
    other = GraphGenerator([("a", "b")], max_epochs=1, random_state=0).fit(
        pd.DataFrame(PAIRS, columns=["b", "a"])
    )
    here = GraphGenerator([("a", "b")], max_epochs=1, random_state=0).fit(
        pd.DataFrame(PAIRS, columns=["a", "b"])
    )
    with pytest.raises(ValueError, match="is column 0 of the.*in the same place"):
        here.score_samples(
            pd.DataFrame(PAIRS, columns=["a", "b"]),
            interventions={"b": SwapMechanism(other, "b")},
        )


def test_large_nodes_are_refused_and_others_are_not():
    rows = RNG.rand(6, 8 * 8)
    image = VAEGenerator(
        data_shape=(8, 8), hidden=(2,), max_epochs=1, random_state=0
    ).fit(rows)
    found = image.score_samples(2 * rows, interventions={"data": Scale(2.0)})
    np.testing.assert_allclose(found, image.score_samples(rows) - 64 * np.log(2))
    with pytest.raises(ValueError, match="has no inverse"):
        image.score_samples(rows, interventions={"data": Rotate(45.0)})


def test_generators_without_a_density_have_no_such_method():
    pipe = GenerativePipeline([("scale", StandardScaler()), ("sim", FixedGenerator())])
    with pytest.raises(AttributeError, match="score_samples"):
        pipe.fit(X).score_samples(X, interventions={})
