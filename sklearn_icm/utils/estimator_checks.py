"""Checks that every generator passes, for families of this package and of yours."""

import pickle
from inspect import signature

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from .pipelines import before_last, last_step

__all__ = ["check_generator"]

N_ROWS = 24


def check_generator(estimator):
    """Check that an estimator keeps the contract of generators.

    Parameters
    ----------
    estimator : generator
        Unfitted; clones of it are fitted to small random data, five times in all.
        Choose few epochs.

    Raises
    ------
    AssertionError
        With what was expected, from the first check that fails.
    """
    check_sample_needs_fit(estimator)
    check_fit_leaves_all_else_alone(estimator)
    fitted = _fitted(estimator)
    # Of the fit's first draws.
    check_same_seed_same_samples(fitted)
    for check in CHECKS:
        check(fitted)


def _data(estimator, seed=0):
    shape = getattr(estimator, "data_shape", None)
    n_features = 4 if shape is None else int(np.prod(shape))
    return np.random.RandomState(seed).uniform(size=(N_ROWS, n_features))


def _fitted(estimator):
    estimator = clone(estimator)
    # Of a pipeline, those of its steps.
    seeds = [k for k in estimator.get_params() if k.endswith("random_state")]
    estimator.set_params(**dict.fromkeys(seeds, 0))
    return estimator.fit(_data(estimator))


def _expect(condition, message):
    if not condition:
        raise AssertionError(message)


def _expect_equal(rows, expected, message):
    _expect(np.array_equal(rows, expected), message)


def _raises(error, call, message, match=()):
    try:
        call()
    except error as caught:
        missing = [m for m in match if m not in str(caught)]
        _expect(
            not missing, f"{message}; the message does not name {missing}: {caught}"
        )
        return
    except Exception as other:
        raise AssertionError(f"{message}, got {other!r}.") from other
    raise AssertionError(f"{message}, but nothing was raised.")


def check_sample_needs_fit(estimator):
    """`sample` and `intervene` raise NotFittedError before `fit`: they never fit."""
    estimator = clone(estimator)
    _raises(NotFittedError, lambda: estimator.sample(2), "sample needs a fit")
    _raises(
        NotFittedError,
        lambda: estimator.intervene({}, n_samples=2),
        "intervene needs a fit",
    )


def check_row_counts(estimator):
    """Exactly as many rows as asked for."""
    width = _data(estimator).shape[1]
    for n in (1, 2, np.int64(7), 1025):
        got = estimator.sample(n).shape
        _expect(got == (n, width), f"sample({n}) must be {(n, width)}, got {got}.")
        got = estimator.intervene({}, n_samples=n).shape
        _expect(got == (n, width), f"intervene must give {(n, width)}, got {got}.")


def check_bad_row_counts(estimator):
    """0, negative or fractional numbers of rows are refused."""
    for n in (0, -1, 2.5, "2"):
        _raises(
            (ValueError, TypeError),
            lambda n=n: estimator.sample(n),
            f"sample({n!r}) must raise ValueError or TypeError",
            match=["n_samples"],
        )


def check_finite(estimator):
    """Samples are finite."""
    rows = estimator.sample(200, random_state=0)
    _expect(np.isfinite(rows).all(), "samples must be finite.")


def check_fit_leaves_all_else_alone(estimator):
    """`fit` returns self, changes no parameter, and keeps to streams of its own.

    Samples have the dtype of its rows, here float32.
    """
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()
    estimator = clone(estimator)
    before, X = estimator.get_params(), _data(estimator).astype(np.float32)
    _expect(estimator.fit(X) is estimator, "fit must return self.")
    for name, value in estimator.get_params().items():
        # A pipeline copies its list of steps.
        same = isinstance(value, list) and value == before[name]
        kept = same or value is before[name]
        _expect(kept, f"fit must not change the parameter {name!r}.")
    got = estimator.sample(5).dtype
    _expect(got == X.dtype, f"samples of float32 data must be float32, got {got}.")
    estimator.intervene({_root(estimator): 0.0}, n_samples=5)
    same = all(
        np.array_equal(a, b)
        for a, b in zip(numpy_before, np.random.get_state(), strict=True)
    )
    _expect(same, "numpy's global random state must not move.")
    _expect(
        torch.equal(torch_before, torch.get_rng_state()),
        "torch's global random state must not move.",
    )


def check_nodes(estimator):
    """`nodes_` is in topological order, ends with the data, and fits `mechanisms_`."""
    nodes, known = list(estimator.nodes_), set()
    known.update(n for n in nodes if n not in estimator.mechanisms_)
    for name, parents in estimator.mechanisms_.items():
        _expect(known.issuperset(parents), f"{name!r} comes before its parents.")
        known.add(name)
    _expect(known == set(nodes), "nodes_ and mechanisms_ must name the same nodes.")


def check_no_intervention_is_sample(estimator):
    """`intervene({})` equals `sample` under one seed."""
    _expect_equal(
        estimator.intervene({}, n_samples=9, random_state=3),
        estimator.sample(9, random_state=3),
        "intervene({}) must equal sample under the same seed.",
    )


def check_pairs_share_noise(estimator):
    """Factual rows of an intervention are the samples of the same seed."""
    change, draw = {_root(estimator): 0.0}, {"n_samples": 9, "random_state": 3}
    factual, changed = estimator.intervene(change, **draw, return_factual=True)
    expected = estimator.sample(9, random_state=3)
    _expect_equal(
        factual, expected, "the factual rows must be the samples of the same seed."
    )
    again = estimator.intervene(change, **draw)
    _expect_equal(changed, again, "return_factual must not change the draws.")


def check_given_rows(estimator):
    """`intervene({}, X=X)` returns X, or is refused where rows are not explained."""
    X = _data(estimator, seed=1)
    if not hasattr(estimator, "abduct"):
        for name in ("hybridise", "influence_map", "transform", "inverse_transform"):
            _expect(not hasattr(estimator, name), f"{name} needs abduct.")
        for ask in (
            lambda: estimator.intervene({}, X=X),
            lambda: estimator.node_values(X),
            lambda: estimator.independence(X),
        ):
            message = "rows that cannot be explained must raise TypeError"
            _raises(TypeError, ask, message, match=["cannot explain", "leave X out"])
        return
    _expect(
        np.allclose(estimator.intervene({}, X=X), X, rtol=0, atol=1e-12),
        "intervene({}, X=X) must return X.",
    )


def check_scores(estimator):
    """Scores, where there are some, are finite numbers that go with their rows."""
    X, estimator = (
        before_last(estimator, _data(estimator, seed=1)),
        last_step(estimator),
    )
    if not hasattr(estimator, "score_samples"):
        return
    scores = estimator.score_samples(X)
    _expect(scores.shape == (len(X),), "score_samples must give a number per row.")
    _expect(np.isfinite(scores).all(), "scores must be finite.")
    _expect(
        np.allclose(estimator.score_samples(X[::-1]), scores[::-1]),
        "the score of a row must not depend on the others.",
    )


def check_do_is_effective(estimator):
    """A data node that is set has that value, in a pipeline before the last step."""
    node = list(estimator.nodes_)[-1]
    rows = before_last(estimator, estimator.intervene({node: 0.5}, n_samples=5))
    _expect(np.allclose(rows, 0.5), f"setting {node!r} to 0.5 must give rows of 0.5.")


def check_intervene_is_stateless(estimator):
    """`intervene` leaves no trace, also when the intervention raises."""
    node = _root(estimator)
    before = estimator.sample(9, random_state=0)

    def fails(value):
        raise RuntimeError("from the intervention")

    factual, _ = estimator.intervene(
        {node: lambda value: value.zero_()},
        n_samples=9,
        random_state=0,
        return_factual=True,
    )
    _expect_equal(
        factual,
        before,
        "a callable that works in place must not change the factual rows.",
    )
    _raises(
        RuntimeError,
        lambda: estimator.intervene({node: fails}, n_samples=9),
        "an error in an intervention must reach the caller",
        match=["from the intervention"],
    )
    after = estimator.sample(9, random_state=0)
    _expect_equal(after, before, "intervene must not change the fitted model.")


def check_sample_never_fits(estimator):
    """`sample` changes nothing but the position of `random_state_`."""

    def attributes():
        return {k: id(v) for k, v in vars(estimator).items() if k != "random_state_"}

    before = attributes()
    estimator.sample(5)
    _expect(before == attributes(), "sample must not change attributes.")


def check_same_seed_same_samples(fitted):
    """One seed, one model: when it is fitted again, and after pickle."""
    again = clone(fitted).fit(_data(fitted))
    loaded = pickle.loads(pickle.dumps(again))
    first, second = fitted.sample(9), fitted.sample(9)
    _expect(not np.array_equal(first, second), "successive draws must differ.")
    seeded = fitted.sample(9, random_state=1)
    for model, expected, seed, law in (
        (again, seeded, 1, "the same seed and data must give the same model."),
        (loaded, seeded, 1, "a pickled model must give the same seeded samples."),
        (loaded, first, None, "a pickled model must continue the same random_state_."),
        (again, first, None, "the first draw of a seeded model must be reproducible."),
    ):
        _expect_equal(model.sample(9, random_state=seed), expected, law)


def check_unknown_node(estimator):
    """An unknown node is a ValueError that lists the valid ones."""
    _raises(
        ValueError,
        lambda: estimator.intervene({"no such node": 0.0}, n_samples=2),
        "an unknown node must raise ValueError",
        match=["no such node", *estimator.nodes_],
    )


def check_observational_rows_only(estimator):
    """With `observational`, rows of other environments have no influence at all."""
    if "observational" not in signature(type(estimator)).parameters:
        return
    X = _data(estimator)
    labels = np.array(["seen", "held out"])[np.arange(len(X)) % 2]
    marked = X.copy()
    marked[labels == "held out"] = 77.0
    draws = []
    for rows in (X, marked):
        fitted = clone(estimator).set_params(observational="seen", random_state=0)
        draws.append(fitted.fit(rows, labels).sample(9, random_state=0))
    _expect_equal(*draws, "rows that are not observational must not influence the fit.")


def _root(estimator):
    mechanisms = estimator.mechanisms_
    return next(name for name in estimator.nodes_ if name not in mechanisms)


CHECKS = (
    check_row_counts,
    check_bad_row_counts,
    check_finite,
    check_nodes,
    check_no_intervention_is_sample,
    check_pairs_share_noise,
    check_given_rows,
    check_scores,
    check_do_is_effective,
    check_intervene_is_stateless,
    check_sample_never_fits,
    check_unknown_node,
    check_observational_rows_only,
)
