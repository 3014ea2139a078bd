import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.datasets import make_scm
from sklearn_icm.datasets._scm_functions import FUNCTIONS, NOISES
from sklearn_icm.interventions import Do, Scale, Shift

MECHANISMS = [*FUNCTIONS, "mixture"]


def descendants(graph, node):
    found = {node}
    for name, parents in graph.items():
        if found.intersection(parents):
            found.add(name)
    return found


@given(
    n_nodes=st.integers(1, 9),
    density=st.floats(0, 1),
    mechanism=st.sampled_from(MECHANISMS),
    noise=st.sampled_from([*NOISES, "mixture"]),
    seed=st.integers(0, 999),
)
def test_graphs_are_acyclic_and_rows_finite(n_nodes, density, mechanism, noise, seed):
    scm = make_scm(
        20,
        n_nodes=n_nodes,
        density=density,
        mechanism=mechanism,
        noise=noise,
        random_state=seed,
    )
    seen = set()
    for name, parents in scm.graph.items():
        assert seen.issuperset(parents)
        seen.add(name)
    assert seen == {f"x{k}" for k in range(n_nodes)}
    assert scm.data.shape == (20, n_nodes)
    assert np.isfinite(scm.data).all()
    assert np.array_equal(
        np.stack([*map(scm.factors.get, scm.feature_names)], 1), scm.data
    )


@pytest.mark.parametrize(("density", "n_edges"), [(0, 0), (1, 28)])
def test_density(density, n_edges):
    graph = make_scm(1, n_nodes=8, density=density, random_state=0).graph
    assert sum(map(len, graph.values())) == n_edges


def test_columns_are_in_no_causal_order():
    """Over seeds each of two nodes is as often the cause."""
    causes = [
        list(make_scm(1, n_nodes=2, density=1, random_state=s).graph)[0]
        for s in range(100)
    ]
    assert abs(causes.count("x0") - 50) < 5 * 5


@pytest.mark.parametrize("mechanism", sorted(set(FUNCTIONS) - {"exp", "product"}))
@pytest.mark.parametrize("seed", range(5))
def test_nodes_are_of_mean_0_and_variance_1(mechanism, seed):
    scm = make_scm(5000, n_nodes=8, mechanism=mechanism, random_state=seed)
    assert np.allclose(scm.data.mean(0), 0, atol=0.15)
    assert np.allclose(scm.data.std(0), 1, atol=0.15)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_mean_0_and_variance_1_and_grows_with_the_normal(noise):
    """By quadrature."""
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    shaped = NOISES[noise](torch.from_numpy(z)).numpy()
    mean = shaped @ weights / weights.sum()
    variance = shaped**2 @ weights / weights.sum()
    assert np.allclose([mean, variance], [0, 1], atol=1e-9)
    assert (np.diff(shaped) > 0).all()


def test_mixtures_draw_functions_and_levels_for_every_node():
    families, shares = set(), []
    for seed in range(30):
        scm = make_scm(900, n_nodes=6, mechanism="mixture", random_state=seed)
        families |= set(scm.families.values())
        assert set(scm.families) == {name for name, ps in scm.graph.items() if ps}
        for name, values in scm.factors.items():
            assert (set(values) <= {-1.0, 0.0, 1.0}) == (name in scm.levels)
        shares.append(len(scm.levels) / 6)
    assert families == set(FUNCTIONS)
    assert abs(np.mean(shares) - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 180)


def test_products_are_products():
    """Of two causes: what both change is not the sum of what each changes."""
    scm = make_scm(50, n_nodes=3, density=1, mechanism="product", random_state=1)
    one, other, effect = scm.graph
    column = int(effect[1:])

    def at(a, b):
        return scm.render({one: a, other: b})[:, column]

    # Twice the second difference for twice the step, for any function of this kind.
    single, double = (at(0, 0) - at(h, 0) - at(0, h) + at(h, h) for h in (1.0, 2.0))
    assert np.allclose(double, 4 * single)
    assert np.abs(single).min() > 0.01


@given(
    mechanism=st.sampled_from([*FUNCTIONS]),
    node=st.integers(0, 6),
    value=st.floats(-5, 5),
    seed=st.integers(0, 99),
)
def test_only_descendants_change(mechanism, node, value, seed):
    scm = make_scm(20, n_nodes=7, mechanism=mechanism, random_state=seed)
    changed = scm.render({f"x{node}": value})
    assert (changed[:, node] == value).all()
    reached = descendants(scm.graph, f"x{node}")
    for k, (before, after) in enumerate(zip(scm.render().T, changed.T, strict=True)):
        if f"x{k}" not in reached:
            assert np.array_equal(before, after)
        elif mechanism != "threshold":
            # Which a small change need not pass.
            assert not np.array_equal(before, after)


def test_render_takes_all_kinds_of_interventions():
    scm = make_scm(30, random_state=0)
    assert np.array_equal(scm.render({"x1": 2}), scm.render({"x1": Do(2.0)}))
    assert np.array_equal(scm.render({"x1": Shift(0.0)}), scm.render())
    assert np.array_equal(
        scm.render({"x1": Scale(3)}), scm.render({"x1": lambda v: 3 * v})
    )
    in_numpy = scm.render({"x1": lambda value: np.full(value.shape, 2.0)})
    assert np.array_equal(in_numpy, scm.render({"x1": 2}))
    assert np.array_equal(scm.render({}), scm.render())
    many = make_scm(1500, random_state=0)
    values = np.linspace(-1, 1, 1500)
    assert np.array_equal(many.render({"x1": lambda _: values[:, None]})[:, 1], values)


def test_noise_is_additive():
    """Own noise moves a node by the same amount in every row, unless it is scaled."""
    for mechanism in FUNCTIONS:
        scm = make_scm(50, density=1, mechanism=mechanism, random_state=0)
        last = list(scm.graph)[-1]
        moved = scm.noise.copy()
        moved[:, int(last[1:])] += 1
        before, after = (
            scm.mechanisms(torch.from_numpy(z))[last] for z in (scm.noise, moved)
        )
        spread = float((after - before).std())
        assert (spread > 0.01) == (mechanism == "location-scale")


@pytest.mark.parametrize("mechanism", ["additive", "location-scale"])
def test_functions_are_nonlinear_and_bounded(mechanism):
    """Far outside the data children stay of order one."""
    scm = make_scm(200, n_nodes=2, density=1, mechanism=mechanism, random_state=0)
    cause, effect = scm.graph
    far, farther = (scm.render({cause: v})[:, int(effect[1:])] for v in (100, 200))
    assert np.allclose(far, farther)
    assert np.abs(far).max() < 10


@given(seed=st.integers(0, 99), value=st.floats(-3, 3))
def test_linear_rows_have_the_closed_form(seed, value):
    scm = make_scm(20, mechanism="linear", n_nodes=5, random_state=seed)
    weights, scales = scm.weights.copy(), scm.noise_scales
    total = np.linalg.inv(np.eye(5) - weights)
    assert np.allclose(scm.render(), (scales * scm.noise) @ total.T)
    weights[2] = 0
    total = np.linalg.inv(np.eye(5) - weights)
    noise = scales * scm.noise
    noise[:, 2] = value
    assert np.allclose(scm.render({"x2": value}), noise @ total.T)


def test_linear_moments_under_do():
    n = 20_000
    scm = make_scm(n, mechanism="linear", density=1, random_state=0)
    node = int(list(scm.graph)[1][1:])
    rows = scm.render({f"x{node}": 2.0})
    weights, scales = scm.weights.copy(), scm.noise_scales.copy()
    weights[node], scales[node] = 0, 0
    total = np.linalg.inv(np.eye(5) - weights)
    covariance = total @ np.diag(scales**2) @ total.T
    deviations = np.sqrt(np.diag(covariance))
    assert np.allclose(rows.mean(0), 2 * total[:, node], atol=5 * 1.5 / np.sqrt(n))
    # Sampling error of a covariance is at most root 2 times the product of deviations.
    limit = 5 * np.sqrt(2 / n) * np.outer(deviations, deviations) + 1e-12
    assert (np.abs(np.cov(rows.T) - covariance) < limit).all()


def test_hidden_nodes_stand_in_the_mechanisms_alone():
    scm = make_scm(30, n_nodes=6, n_unobserved=2, random_state=0)
    full = make_scm(30, n_nodes=6, n_unobserved=0, random_state=0)
    assert len(scm.unobserved) == 2
    assert sorted(scm.unobserved + scm.feature_names) == full.feature_names
    assert set(scm.graph) == set(scm.factors) == set(full.feature_names)
    assert scm.mechanisms.nodes["data"] == (4,)
    assert all(scm.mechanisms.nodes[name] == (1,) for name in scm.graph)
    assert scm.data.shape == (30, 4)
    hidden = scm.unobserved[0]
    assert scm.render({hidden: 3.0}).shape == (30, 4)


def test_environments():
    asked = {"do": {"x0": 1.0}, "shift": {"x1": Shift(2.0), "x2": torch.tanh}}
    scm = make_scm(10, interventions=asked, random_state=0)
    assert (
        scm.environments.tolist() == np.repeat(["observational", *asked], 10).tolist()
    )
    for label, interventions in asked.items():
        rows = scm.data[scm.environments == label]
        assert np.array_equal(rows, scm.render(interventions))
    assert scm.pairs.shape == (2, 20)
    assert make_scm(10).pairs.shape == (2, 0)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"n_nodes": 0}, ValueError, "n_nodes == 0, must be >= 1"),
        ({"density": 1.5}, ValueError, "density == 1.5, must be <= 1"),
        ({"density": np.nan}, ValueError, "density must be finite"),
        ({"n_unobserved": 5}, ValueError, "n_unobserved == 5, must be <= 4"),
        ({"noise": "cauchy"}, ValueError, "noise must be one of .*skewed.*'cauchy'"),
        ({"mechanism": "cubic"}, ValueError, "one of .*linear.*got 'cubic'"),
        ({"interventions": {"x0": 1.0}}, TypeError, "environment: .node: interv"),
        ({"interventions": {0: {"x0": 1.0}}}, TypeError, "strings as environments"),
        ({"interventions": ["x0"]}, TypeError, "environment: .node: interv"),
        ({"interventions": {"observational": {}}}, ValueError, "another label"),
        ({"interventions": {"a": {"x9": 1}}}, ValueError, "Unknown node 'x9'"),
    ],
)
def test_bad_parameters(params, error, match):
    with pytest.raises(error, match=match):
        make_scm(5, **params)


def test_unknown_node_of_render():
    with pytest.raises(ValueError, match="Unknown node 'y'; the nodes are"):
        make_scm(5, random_state=0).render({"y": 1.0})
