"""Interventions against the true mechanisms of synthetic worlds, and closed forms."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import extrapolation_skill

N = 1000


def busiest(scm):
    children = {k: sum(k in ps for ps in scm.graph.values()) for k in scm.graph}
    return max(children, key=children.get)


def skill(scm, est, node, value):
    others = [k for k, name in enumerate(scm.feature_names) if name != node]
    made = est.intervene({node: value}, n_samples=N, random_state=0)
    truth = scm.render({node: value})
    compared = (rows[:, others] for rows in (truth, made, scm.data))
    return extrapolation_skill(*compared, baseline="identity")


@cache
def world(mechanism, seed=0):
    scm = make_scm(N, n_nodes=6, mechanism=mechanism, random_state=seed)
    est = GraphGenerator(scm.graph, max_epochs=40, random_state=0)
    return scm, est.fit(scm.data), busiest(scm)


@pytest.mark.parametrize("mechanism", ["additive", "location-scale", "linear"])
def test_do_inside_the_trained_range(mechanism):
    scm, est, node = world(mechanism)
    values = np.quantile(scm.data[:, int(node[1:])], [0.1, 0.9])
    assert np.mean([skill(scm, est, node, v) for v in values]) > 0.9


@pytest.mark.parametrize("mechanism", ["additive", "linear"])
def test_do_two_deviations_outside_the_trained_range(mechanism):
    scm, est, node = world(mechanism)
    column = scm.data[:, int(node[1:])]
    values = [column.min() - 2 * column.std(), column.max() + 2 * column.std()]
    assert np.mean([skill(scm, est, node, v) for v in values]) > 0.6


def test_linear_mechanisms_are_recognised():
    scm, est, _ = world("linear")
    assert list(est.mechanism_kinds_.values()).count("linear") >= 5
    nonlinear, est, _ = world("additive")
    with_parents = [k for k, ps in nonlinear.graph.items() if ps]
    richer = [k for k in with_parents if est.mechanism_kinds_[k] != "linear"]
    assert len(richer) > len(with_parents) / 2


def test_linear_world_has_the_closed_form_of_its_intervention():
    scm = make_scm(20_000, n_nodes=5, mechanism="linear", random_state=1)
    node = busiest(scm)
    j = int(node[1:])
    est = GraphGenerator(scm.graph, mechanism="linear", max_epochs=4, random_state=0)
    made = est.fit(scm.data).intervene({node: 1.5}, n_samples=20_000, random_state=0)
    weights, scales = scm.weights.copy(), scm.noise_scales.copy()
    weights[j], scales[j] = 0, 0
    total = np.linalg.inv(np.eye(5) - weights)
    mean, covariance = total[:, j] * 1.5, (total * scales**2) @ total.T
    # Of the draws and of the fit, which sees as many rows.
    error = 5 * np.sqrt(2 / len(made)) * np.sqrt(1 + 1.5**2)
    assert np.allclose(made.mean(0), mean, atol=error)
    assert np.allclose(np.cov(made.T), covariance, atol=error)


def test_counterfactuals_of_given_rows():
    scm, est, node = world("additive")
    value = float(np.quantile(scm.data[:, int(node[1:])], 0.8))
    truth = scm.render({node: value})
    made = est.intervene({node: value}, X=scm.data)
    error = np.square(made - truth).mean() / np.square(scm.data - truth).mean()
    assert error < 0.1


def test_linear_mechanisms_with_normal_noise_are_a_normal_distribution():
    scm = make_scm(N, n_nodes=5, mechanism="linear", random_state=2)
    X = scm.data**3  # whatever the noise is
    est = GraphGenerator(
        scm.graph, mechanism="linear", noise="normal", max_epochs=3, random_state=0
    ).fit(X)
    weights, variances = np.zeros((5, 5)), np.zeros(5)
    mean = np.zeros(5)
    for k in range(5):
        parents = [int(p[1:]) for p in scm.graph[f"x{k}"]]
        noise = est.transform(X)[:, k]
        slope = np.linalg.lstsq(np.c_[np.ones(N), X[:, parents], noise], X[:, k])[0]
        weights[k, parents] = slope[1:-1]
        variances[k] = (slope[-1] * noise.std(ddof=1)) ** 2
        mean[k] = slope[0] + slope[-1] * noise.mean()
    spread = np.linalg.inv(np.eye(5) - weights)
    normal = stats.multivariate_normal(
        spread @ mean, spread @ np.diag(variances) @ spread.T
    )
    assert np.allclose(est.score_samples(X), normal.logpdf(X), rtol=1e-4, atol=1e-3)
