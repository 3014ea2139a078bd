"""Columns are found by name, or refused: in any order, and beside others."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.inspection import InterventionDisplay
from sklearn_icm.interventions import Shift, SwapMechanism
from sklearn_icm.metrics import (
    average_effect,
    counterfactual_errors,
    evaluate,
    make_density_scorer,
    make_extrapolation_scorer,
    mechanism_shift,
    refit_agreement,
)
from sklearn_icm.model_selection import fit_intervention
from sklearn_icm.utils.pipelines import last_step

RNG = np.random.RandomState(0)
NUMBERS = pd.DataFrame(
    np.exp(RNG.randn(40, 4) / 2) * [1, 5, 50, 500],
    columns=["age", "mass", "size", "cost"],
)
LEVELS = NUMBERS.assign(town=RNG.choice(["Bonn", "Cork", "Oslo"], 40))
LABELS = np.repeat(["seen", "moved"], 20)
ALL_SEEN = np.repeat("seen", 40)
FIRST = {"random_state": 0}


def vae(**params):
    return VAEGenerator(n_latents=2, hidden=(4,), max_epochs=1, **params, **FIRST)


def graph():
    edges = {"mass": "age", "size": ["age", "mass"]}
    return GraphGenerator(edges, max_epochs=1, **FIRST)


def logs(**params):
    return FunctionTransformer(np.log, np.exp, feature_names_out="one-to-one", **params)


def behind(step, model, kind=GenerativePipeline):
    return kind([("step", step), ("model", model)])


SCALED = make_column_transformer(
    (StandardScaler(), ["size", "age"]), remainder="passthrough"
)
# What these do not answer; others may answer less.
MISSING = {"pixels": {"shift", "evaluate"}, "graph": {"display", "independence"}}
CODED = make_column_transformer(
    (OneHotEncoder(sparse_output=False), ["town"]), remainder="passthrough"
)
BARE = {
    "table": (vae(), NUMBERS),
    "image": (vae(data_shape=(2, 2)), NUMBERS),
    "chain": (ChainGenerator(max_iter=5, **FIRST), NUMBERS),
    "fixed": (FixedGenerator(**FIRST), NUMBERS),
    "graph": (graph(), NUMBERS),
    "levels": (graph(), LEVELS),
}
BEHIND = {
    "scaler": (behind(StandardScaler(), vae()), NUMBERS),
    "logs": (behind(logs(), vae()), NUMBERS),
    "columns": (behind(SCALED, vae()), NUMBERS),
    "pixels": (behind(logs(), vae(data_shape=(2, 2))), NUMBERS),
    "codes": (behind(CODED, vae()), LEVELS),
    "alone": (GenerativePipeline([("model", graph())]), LEVELS),
    "graph": (behind("passthrough", graph()), NUMBERS),
    "graph of logs": (behind(logs().set_output(transform="pandas"), graph()), NUMBERS),
}
# Their own verbs are scikit-learn's, and ours on top of them find columns by name.
PLAIN = {
    "plain logs": (make_pipeline(logs(), vae()), NUMBERS),
    "plain columns": (make_pipeline(SCALED, vae()), NUMBERS),
    "plain graph": (make_pipeline(logs(), graph()), NUMBERS),
}


def change(model):
    generator = last_step(model)
    node = "age" if hasattr(generator, "categories_") else list(generator.nodes_)[1]
    return {node: Shift(0.3)}


def extrapolation(model, **options):
    return make_extrapolation_scorer(
        {"moved": change(model)}, observational="seen", **options, **FIRST
    )


def density():
    moved = {"moved": {"data": Shift(0.1)}}
    return make_density_scorer(moved, observational="seen")


def one_node(model):
    return next(iter(change(model)))


VERBS = {
    "score": lambda m, X: m.score(X),
    "score_samples": lambda m, X: m.score_samples(X),
    "under a change": lambda m, X: m.score_samples(
        X, interventions={"data": Shift(0.1)}
    ),
    "transform": lambda m, X: m.transform(X),
    "intervene": lambda m, X: m.intervene(change(m), X=X),
    "abduct": lambda m, X: m.abduct(X).noise,
    "node_values": lambda m, X: m.node_values(X)["data"],
    "independence": lambda m, X: m.independence(X, measure="activation"),
    "support": lambda m, X: m.support(change(m), X).table_,
    "hybridise": lambda m, X: m.hybridise(X[:20], X[20:], one_node(m), [0]),
    "influence_map": lambda m, X: m.influence_map(one_node(m), [0], X),
    "was_fitted_on": lambda m, X: m.was_fitted_on(X),
}
QUESTIONS = {
    "extrapolation": lambda m, X: extrapolation(m)(m, X, LABELS),
    "training fold": lambda m, X: extrapolation(m)(m, X, ALL_SEEN),
    "pairs": lambda m, X: extrapolation(m)(m, X, LABELS, pairs=[*range(20)] * 2),
    "density": lambda m, X: density()(m, X, LABELS),
    "errors": lambda m, X: counterfactual_errors(m, X, change(m), **FIRST).table_,
    "agreement": lambda m, X: refit_agreement([m, m], X, change(m), **FIRST).table_,
    "effect": lambda m, X: (
        average_effect(m, one_node(m), 1.0, 0.5, "size", X=X, **FIRST).effect
    ),
    "fit": lambda m, X: fit_intervention(
        m, "shift", X, one_node(m), n_samples=40, n_bootstrap=20, **FIRST
    ).table_["distance"],
    "shift": lambda m, X: (
        mechanism_shift(m, X, LABELS, observational="seen", n_permutations=19).table_
    ),
    "evaluate": lambda m, X: evaluate(m, X, n_draws=3, **FIRST).table_,
    "display": lambda m, X: (
        InterventionDisplay.from_estimator(
            m, Shift(0.3), X[:3], node=one_node(m), n_rows=2
        ).rows
    ),
}


def asked(question, model, X):
    """Answer as an array of numbers, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = question(model, X)
    except (AttributeError, TypeError, ValueError) as error:
        return error
    if isinstance(found, pd.DataFrame):
        found = found.select_dtypes("number")
    return np.asarray(found)


def some(names):
    """Names of models, of which few are asked by default."""
    quick = {"levels", "columns", "pixels", "graph of logs", "plain columns"}
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


def turned(X):
    """The same rows in two other forms: columns in another order, and beside others."""
    other = X[X.columns[::-1]]
    return other, other.assign(note=1.0)


@pytest.mark.parametrize("name", some(BEHIND | PLAIN))
def test_pipelines_find_columns_by_name(name):
    model, X = (BEHIND | PLAIN)[name]
    model.fit(X)
    questions, missing = QUESTIONS if name in PLAIN else VERBS | QUESTIONS, set()
    for verb, question in questions.items():
        known = asked(question, model, X)
        if isinstance(known, Exception):
            missing.add(verb)
            continue
        for other in turned(X):
            found = asked(question, model, other)
            np.testing.assert_array_equal(found, known, verb)
    assert missing == MISSING.get(name, missing)


@pytest.mark.parametrize("name", some(BARE))
def test_generators_find_columns_by_name_or_refuse_them(name):
    model, X = BARE[name]
    model.fit(X)
    for verb, question in (VERBS | QUESTIONS).items():
        known = asked(question, model, X)
        for other in turned(X):
            found = asked(question, model, other)
            if isinstance(known, Exception):
                assert isinstance(found, Exception), verb
            elif isinstance(found, Exception):
                assert "eature names" in str(found) or "no rows of" in str(found), verb
            elif verb != "was_fitted_on":
                np.testing.assert_array_equal(found, known, verb)


def test_mechanisms_are_swapped_in_their_own_order():
    X, other = NUMBERS, NUMBERS[["mass", "age", "cost", "size"]]
    own, taken = graph().fit(X), graph().fit(other)
    for node in ("size", "data"):
        with pytest.raises(ValueError, match=r"\['mass', 'age'.*, which are \['age',"):
            own.intervene({node: SwapMechanism(taken, node)}, X=X)
    with pytest.raises(ValueError, match="'age' is column 1 of.*in the same place"):
        own.intervene({"age": SwapMechanism(taken, "age")}, n_samples=2)
    own, taken = vae().fit(X), vae().fit(other)
    with pytest.raises(ValueError, match=r"\['mass', 'age'.*, which are \['age',"):
        own.intervene({"data": SwapMechanism(taken, "data")}, X=X)
    assert len(own.intervene({"dense1": SwapMechanism(taken, "dense1")}, X=X)) == 40


@pytest.mark.parametrize("name", ["table", "graph"])
def test_rows_that_run_backwards_have_densities(name):
    model = {"table": vae(), "graph": GraphGenerator(max_epochs=1)}[name]
    model.fit(NUMBERS.to_numpy())
    rows, moved = NUMBERS.to_numpy()[::-1], {"data": Shift(0.1)}
    found = model.score_samples(rows, interventions=moved)
    known = model.score_samples(rows.copy(), interventions=moved)
    np.testing.assert_array_equal(found, known)
