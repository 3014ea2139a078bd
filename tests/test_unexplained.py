"""The share of rows that a model does not explain, and the warning of it."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.exceptions import UnexplainedRowsWarning
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.interventions import Scale, Stretch

RNG = np.random.RandomState(0)
TABLE = RNG.randn(200, 2) @ RNG.randn(2, 5) + 0.1 * RNG.randn(200, 5)
UNITS = np.array([1.0, 1e3, 1e-3, 10.0, 1.0])


@pytest.fixture(scope="module")
def table():
    """Tests must not change it."""
    est = VAEGenerator(n_latents=2, max_epochs=60, lr=1e-2, bounds=None, random_state=0)
    return est.fit(TABLE * UNITS)


def unexplained(est, X, **params):
    return est.abduct(X, return_unexplained=True, **params).unexplained


def caught(ask):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ask()
    return [w.message for w in found if isinstance(w.message, UnexplainedRowsWarning)]


def test_shares_of_explained_rows_and_of_others(table, fitted, pairs):
    own = table.inverse_transform(RNG.randn(5, 2))
    assert unexplained(table, own).max() < 0.05
    assert unexplained(table, TABLE * UNITS).mean() < 0.15
    # No combination of two latents.
    strange = 5 * np.linalg.svd(TABLE)[2][-1:]
    assert unexplained(table, strange * UNITS)[0] > 1
    inverted = 1 - pairs.data[:20]
    assert unexplained(fitted, inverted).min() > 1
    assert set(table.abduct(own)) == {"noise", "residual", "n_steps", "converged"}


@pytest.mark.parametrize("method", ["encode", "optimise"])
def test_the_share_is_the_residual_over_the_spread(fitted, pairs, method):
    X = pairs.data[:7]
    found = fitted.abduct(X, method=method, return_unexplained=True)
    rows = pairs.data[pairs.environments == "narrow"]
    # By as many rows as are taken for the spread.
    spread = np.square(rows - rows.mean(0)).mean()
    np.testing.assert_allclose(found.unexplained, found.residual**2 / spread, rtol=0.1)
    alone = fitted.abduct(X[3:4], method=method, return_unexplained=True)
    np.testing.assert_allclose(alone.unexplained, found.unexplained[3:4], rtol=1e-2)


def test_a_model_of_the_mean_row_explains_nothing():
    image = RNG.rand(60, 36)
    est = VAEGenerator((6, 6), beta=1e3, max_epochs=40, random_state=0).fit(image)
    assert abs(unexplained(est, image).mean() - 1) < 0.15


def test_units_of_columns_do_not_matter(table):
    scaled = VAEGenerator(
        n_latents=2, max_epochs=60, lr=1e-2, bounds=None, random_state=0
    )
    shares = unexplained(scaled.fit(TABLE), TABLE)
    np.testing.assert_allclose(unexplained(table, TABLE * UNITS), shares, rtol=0.05)
    pipe = GenerativePipeline([("scale", StandardScaler()), ("model", scaled)])
    again = unexplained(pipe.fit(TABLE * UNITS), TABLE * UNITS)
    np.testing.assert_allclose(again, shares, rtol=0.05)


@pytest.mark.parametrize(
    "est",
    [GraphGenerator([(0, 1)], max_epochs=1), ChainGenerator(max_iter=5)],
    ids=["table", "chain"],
)
def test_exact_models_explain_every_row(est):
    node = {GraphGenerator: "x0", ChainGenerator: "dense1"}[type(est)]
    far = 50 * TABLE[:3]
    assert (unexplained(est.set_params(random_state=0).fit(TABLE), far) == 0).all()
    assert not caught(lambda: est.intervene({node: Scale(2.0)}, X=far))


def test_rows_that_do_not_vary_have_nothing_to_explain():
    constant = np.ones((20, 3))
    for est in (VAEGenerator(n_latents=1, max_epochs=1), FixedGenerator()):
        est.set_params(random_state=0).fit(constant)
        assert (unexplained(est, constant) == 0).all()


def test_a_simulator_knows_what_it_cannot_make():
    est = FixedGenerator(noise_std=0.1, random_state=0).fit(TABLE)
    assert unexplained(est, TABLE[:5]).max() < 0.05


def test_batches_of_a_stream_renew_the_spread():
    est = VAEGenerator(n_latents=2, bounds=None, random_state=0).partial_fit(TABLE)
    before = unexplained(est, 9 * TABLE[:20]).mean()
    for _ in range(5):
        est.partial_fit(9 * TABLE)
    assert unexplained(est, 9 * TABLE[:20]).mean() < before / 4


def test_the_share_is_pickled(table):
    again = pickle.loads(pickle.dumps(table))
    X = TABLE[:9] * UNITS
    assert np.array_equal(unexplained(again, X), unexplained(table, X))


def test_the_warning_names_the_share_and_the_remedy(fitted, pairs):
    strange, change = 1 - pairs.data[:30], {"conv2": Stretch(1.2)}
    (warning,) = caught(lambda: fitted.intervene(change, X=strange))
    share = unexplained(fitted, strange).mean()
    assert warning.share == pytest.approx(share, rel=1e-3)
    assert str(warning) == str(pickle.loads(pickle.dumps(warning)))
    for words in (f"does not explain {share:.0%}", "residual='drop'"):
        assert words in str(warning)
    # One row, chunks and hybrids too.
    assert caught(lambda: fitted.intervene(change, X=strange[:1]))
    assert caught(lambda: fitted.hybridise(strange, strange[::-1], "conv2", 0))


def test_nothing_is_said_where_nothing_is_kept_in_doubt(table, fitted, pairs):
    strange, change = 1 - pairs.data[:5], {"conv2": Stretch(1.2)}
    for ask in (
        lambda: fitted.intervene(change, X=strange, residual="drop"),
        lambda: fitted.intervene({}, X=strange),
        lambda: fitted.intervene({"data": Stretch(1.2)}, X=strange),
        lambda: fitted.intervene(change, n_samples=5),
        lambda: table.intervene({"dense1": Scale(2.0)}, X=TABLE * UNITS),
    ):
        assert not caught(ask)
