"""The mean log density of environments under interventions."""

import numpy as np
import pytest
from sklearn.model_selection import cross_validate

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_density_scorer
from sklearn_icm.model_selection import FamilyFit, LeaveEnvironmentOut

CHANGES = {"moved": {"x0": Shift(1.5)}, "other": {"x1": Shift(-1.0)}}
SEEN = "observational"
SCM = make_scm(
    150, n_nodes=3, mechanism="linear", interventions=CHANGES, random_state=0
)
X, LABELS = SCM.data, SCM.environments


@pytest.fixture(scope="module")
def model():
    est = GraphGenerator(
        SCM.graph, mechanism="linear", max_epochs=1, observational=SEEN, random_state=0
    )
    return est.fit(X, LABELS)


def test_it_is_the_mean_over_environments(model):
    scorer = make_density_scorer(CHANGES, observational=SEEN)
    means = [
        model.score_samples(X[label == LABELS], interventions=change).mean()
        for label, change in CHANGES.items()
    ]
    assert scorer(model, X, LABELS) == pytest.approx(np.mean(means))
    assert scorer(model, X, environments=LABELS) == scorer(model, X, LABELS)
    unchanged = make_density_scorer({"moved": {}, "other": None}, observational=SEEN)
    plain = model.score_samples(X[LABELS == "moved"]).mean()
    assert unchanged(model, X, LABELS) == pytest.approx(plain)
    assert unchanged(model, X, LABELS) < scorer(model, X, LABELS)


def test_searches_use_it(model):
    scorer = make_density_scorer(CHANGES, observational=SEEN)
    found = cross_validate(
        model,
        X,
        LABELS,
        scoring=scorer,
        cv=LeaveEnvironmentOut(observational=SEEN, n_splits=2),
        return_train_score=True,
        error_score="raise",
    )
    assert np.isfinite(found["test_score"]).all()
    assert np.isfinite(found["train_score"]).all()


def test_what_it_cannot_score_is_refused(model):
    scorer = make_density_scorer(CHANGES, observational=SEEN)
    with pytest.raises(TypeError, match="needs a generator with `score_samples`"):
        scorer(FixedGenerator().fit(X), X, LABELS)
    with pytest.raises(ValueError, match="no rows of the environment 'other'.*density"):
        scorer(model, X[LABELS != "other"], LABELS[LABELS != "other"])
    with pytest.raises(ValueError, match="density scorer needs the environment label"):
        scorer(model, X)
    with pytest.raises(ValueError, match="non-empty dict"):
        make_density_scorer({}, observational=SEEN)
    with pytest.raises(TypeError, match="fixed interventions"):
        make_density_scorer(
            {"moved": FamilyFit("shift", node="x0")}, observational=SEEN
        )
