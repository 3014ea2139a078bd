"""Scores behind steps are densities of the input."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.compose._density import SLOPES
from sklearn_icm.generators import GraphGenerator, VAEGenerator

X = np.random.RandomState(0).uniform(0.1, 0.9, size=(60, 3))


def pipeline(step, model=None):
    model = model or VAEGenerator(
        n_latents=2, hidden=(4,), max_epochs=2, bounds=None, random_state=0
    )
    return GenerativePipeline([("step", step), ("model", model)])


INVERSES = {
    np.log: np.exp,
    np.log1p: np.expm1,
    np.log2: np.exp2,
    np.log10: lambda x: 10**x,
    np.exp: np.log,
    np.expm1: np.log1p,
    np.sqrt: np.square,
    np.arcsinh: np.sinh,
    logit: expit,
    expit: logit,
}

SMOOTH = [
    StandardScaler(),
    StandardScaler(with_std=False),
    MinMaxScaler((0, 1e-3)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_scaling=False),
    PowerTransformer(),
    PowerTransformer("box-cox", standardize=False),
    PCA(),
    PCA(whiten=True),
    FunctionTransformer(),
    *(FunctionTransformer(f, g, check_inverse=False) for f, g in INVERSES.items()),
    make_pipeline(StandardScaler(), "passthrough", PowerTransformer(), PCA()),
    ColumnTransformer(
        [
            ("pair", make_pipeline(FunctionTransformer(np.log, np.exp), PCA()), [2, 0]),
            ("one", MinMaxScaler(), [1]),
        ]
    ),
    make_column_transformer((PowerTransformer(), [1]), remainder="passthrough"),
]


@pytest.mark.parametrize("step", SMOOTH, ids=lambda s: repr(s)[:60])
def test_scores_are_densities_of_the_input(step):
    # Centred, so that both signs are transformed, where the step takes them.
    centred = isinstance(step, PowerTransformer) and step.method == "yeo-johnson"
    rows = X - 0.5 if centred else X
    pipe = pipeline(step).fit(rows)
    within = pipe["step"].transform(rows[:5])
    volume = pipe.score_samples(rows[:5]) - pipe["model"].score_samples(within)
    # The truth, by central differences.
    for row, found in zip(rows[:5], volume, strict=True):
        near = 1e-6 * np.eye(3)
        slopes = pipe["step"].transform(row + near) - pipe["step"].transform(row - near)
        assert np.isclose(found, np.linalg.slogdet(slopes / 2e-6)[1], atol=1e-5)


def test_every_known_function_is_checked():
    assert set(INVERSES) == set(SLOPES)


def test_the_unit_of_a_scaler_says_nothing():
    steps = [StandardScaler(), MinMaxScaler((0, 1e-3)), MinMaxScaler(), "passthrough"]
    found = GridSearchCV(pipeline(None), {"step": steps}, cv=2).fit(X)
    scores = found.cv_results_["mean_test_score"]
    assert np.allclose(scores, scores[0], atol=1e-3)


@pytest.mark.parametrize(
    "step",
    [
        PCA(2),
        QuantileTransformer(n_quantiles=10),
        MinMaxScaler(clip=True),
        FunctionTransformer(np.square, np.sqrt, check_inverse=False),
        make_pipeline(StandardScaler(), PCA(1)),
        make_column_transformer((PCA(1), [0, 1]), remainder="passthrough"),
    ],
    ids=lambda s: repr(s)[:60],
)
def test_steps_without_a_density_are_named(step):
    pipe = pipeline(step).fit(X)
    with pytest.raises(ValueError, match="Behind the step 'step.*energy_distance"):
        pipe.score(X)
    twice = ColumnTransformer([("a", PCA(), [0, 1]), ("b", PCA(), [1, 2])])
    with pytest.raises(ValueError, match="takes a column twice"):
        pipeline(twice).fit(X).score(X)


def test_levels_have_probabilities_and_codes_none():
    frame = pd.DataFrame(X, columns=list("abc")).assign(town=["x", "y", "z"] * 20)
    scale = make_column_transformer(
        (MinMaxScaler((0, 5)), ["c", "a"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = GraphGenerator(max_epochs=1, random_state=0)
    pipe = pipeline(scale, model).fit(frame)
    inner = pipe["model"].score(pipe["step"].transform(frame))
    stretch = np.log(5 / np.ptp(X[:, [0, 2]], axis=0)).sum()
    assert np.isclose(pipe.score(frame), inner + stretch)
    assert np.isclose(pipe.score(frame[["town", "c", "b", "a"]]), pipe.score(frame))
    for encoder in (OneHotEncoder(sparse_output=False), OrdinalEncoder()):
        encode = make_column_transformer((encoder, ["town"]), remainder="passthrough")
        with pytest.raises(ValueError, match="step__.*encoder'.*no density"):
            pipeline(encode).fit(frame).score(frame)


def test_columns_that_do_not_vary_and_missing_values():
    rows = np.where([True, True, False], X, 5.0)
    steps = [StandardScaler(), MinMaxScaler((0, 1e-3)), "passthrough"]
    scores = [pipeline(step).fit(rows).score(rows) for step in steps]
    assert np.allclose(scores, scores[0], atol=1e-3)
    rows = np.where(X[3, 1] == X, np.nan, X)
    model = GraphGenerator(missing="available", max_epochs=1, random_state=0)
    assert np.isfinite(pipeline("passthrough", model).fit(rows).score(rows))
    pipe = pipeline(StandardScaler(), model).fit(rows)
    assert np.isfinite(pipe.score(rows[4:]))
    with pytest.raises(ValueError, match="missing values.*Score complete rows"):
        pipe.score(rows)


def test_only_observational_rows_are_scored():
    labels = np.array(["a", "b"])[np.arange(60) % 2]
    pipe = pipeline(StandardScaler()).set_params(model__observational="a")
    pipe.fit(X, labels)
    for rows in (X, pd.DataFrame(X)):
        assert np.isclose(pipe.score(rows, labels), pipe.score(X[::2]))
        assert np.isclose(pipe.score(rows, environments=labels), pipe.score(X[::2]))
