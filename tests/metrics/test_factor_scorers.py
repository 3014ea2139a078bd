import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import small
from sklearn.base import clone
from sklearn.decomposition import PCA, FastICA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.datasets import make_two_balls
from sklearn_icm.metrics import (
    alignment_r2,
    make_identifiability_scorer,
    mcc_score,
)

FACTORS = np.random.RandomState(0).uniform(-1, 1, (400, 3))
MIXED = FACTORS @ np.random.RandomState(1).randn(3, 5)
ICA = FastICA(3, random_state=0, whiten="unit-variance").fit(MIXED)
MCC = make_identifiability_scorer("mcc")


def test_scores_are_those_of_the_functions():
    latents = ICA.transform(MIXED)
    for measure, function, params in (
        ("mcc", mcc_score, {}),
        ("mcc", mcc_score, {"method": "spearman"}),
        ("r2", alignment_r2, {"cv": 3}),
        ("r2", alignment_r2, {"alignment": "nonlinear"}),
    ):
        scorer = make_identifiability_scorer(measure, **params)
        assert scorer(ICA, MIXED, FACTORS) == function(FACTORS, latents, **params)


def test_ica_identifies_a_linear_mixture_and_pca_only_its_span():
    pca = PCA(3).fit(MIXED)
    assert MCC(ICA, MIXED, FACTORS) > 0.98
    assert MCC(pca, MIXED, FACTORS) < 0.9
    affine = make_identifiability_scorer("r2")
    assert affine(pca, MIXED, FACTORS) == pytest.approx(1)


def test_single_metric_search():
    pipe = make_pipeline(StandardScaler(), FastICA(random_state=0))
    search = GridSearchCV(
        pipe, {"fastica__n_components": [1, 3]}, scoring=MCC, error_score="raise", cv=3
    ).fit(MIXED, FACTORS)
    one, three = search.cv_results_["mean_test_score"]
    assert one < 0.5 < 0.95 < three
    assert search.best_params_ == {"fastica__n_components": 3}


def test_multi_metric_validation_of_frames():
    X, y = pd.DataFrame(MIXED).add_prefix("x"), pd.DataFrame(FACTORS).add_prefix("z")
    scores = cross_validate(
        PCA(3).set_output(transform="pandas"),
        X,
        y,
        scoring={"mcc": MCC, "affine": make_identifiability_scorer("r2")},
        cv=3,
        error_score="raise",
        return_train_score=True,
    )
    assert (scores["test_mcc"] < scores["test_affine"]).all()
    assert scores["train_affine"] == pytest.approx(1)


def test_one_factor_as_a_vector():
    assert MCC(ICA, MIXED, FACTORS[:, 1]) > 0.98


@pytest.mark.parametrize("measure", ["mcc", "r2"])
def test_factors_of_a_data_set_are_a_dict_of_columns(measure):
    balls = make_two_balls(30, random_state=0)
    rows, scorer = balls.data[:30], make_identifiability_scorer(measure)
    model, columns = PCA(2).fit(rows), np.column_stack([*balls.factors.values()])
    expected = scorer(model, rows, columns)
    # Sums in another order of memory may round otherwise.
    assert scorer(model, rows, balls.factors) == pytest.approx(expected, rel=1e-12)


def test_generators_take_factors_as_y():
    """Without `observational`, a generator ignores y: factors may be in it."""
    search = GridSearchCV(
        small(), {"n_latents": [1, 3]}, scoring=MCC, cv=2, error_score="raise"
    ).fit(MIXED, FACTORS)
    scores = search.cv_results_["mean_test_score"]
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[0] <= 1 / 3


def test_factors_are_routed_beside_labels():
    labels = np.repeat(["seen", "moved"], 200)[
        np.random.RandomState(0).permutation(400)
    ]
    with sklearn.config_context(enable_metadata_routing=True):
        options = {"scoring": MCC, "cv": 2, "error_score": "raise"}
        model = small(observational="seen")
        routed = cross_validate(
            model, MIXED, labels, params={"factors": FACTORS}, **options
        )
        by_y = cross_validate(PCA(3), MIXED, FACTORS, **options)
        other = make_identifiability_scorer("mcc").set_score_request(factors="truth")
        renamed = cross_validate(
            PCA(3), MIXED, params={"truth": FACTORS}, **{**options, "scoring": other}
        )
    assert np.isfinite(routed["test_score"]).all()
    assert renamed["test_score"].tolist() == by_y["test_score"].tolist()


def test_value_objects():
    scorer = make_identifiability_scorer("r2", cv=3)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy == scorer
        assert hash(copy) == hash(scorer)
        assert copy(ICA, MIXED, FACTORS) == scorer(ICA, MIXED, FACTORS)
    assert scorer != make_identifiability_scorer("r2")
    assert scorer != "r2"
    assert repr(scorer) == "make_identifiability_scorer(measure='r2', cv=3)"


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "needs the true factors of every row"),
        (
            ["narrow"] * 400,
            "must be numbers.*pass the factors as factors=",
        ),
        (FACTORS[:9], "inconsistent numbers of samples"),
        (np.full((400, 2), np.nan), "Z_true contains NaN"),
    ],
)
def test_bad_factors(y, match):
    with pytest.raises(ValueError, match=match):
        MCC(ICA, MIXED, y)


def test_only_transformers_are_scored():
    with pytest.raises(TypeError, match="with `transform`, got LinearRegression"):
        MCC(LinearRegression(), MIXED, FACTORS)


@pytest.mark.parametrize(
    ("args", "params", "error", "match"),
    [
        (["mig"], {}, ValueError, r"measure must be one of \['mcc', .*got 'mig'"),
        (["mcc"], {"cv": 3}, TypeError, r"'mcc' has no parameter 'cv'; it has \['cat"),
        (["r2"], {"test": ()}, TypeError, r"\['alignment', 'categorical', 'cv', "),
    ],
)
def test_bad_measures(args, params, error, match):
    with pytest.raises(error, match=match):
        make_identifiability_scorer(*args, **params)
