"""Shifts predicted for the units of an environment, whose noise is their own."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import extrapolation_skill, make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut

N = 1500
EDGES = [("dose", "middle"), ("middle", "effect")]


def rows(seed, *, centre=0.0, spread=1.0, dose=None):
    """Equations that all environments share, and noise that they do not."""
    rng = np.random.RandomState(seed)
    own, noise, last = rng.randn(3, N)
    own = own if dose is None else np.full(N, dose)
    middle = 0.8 * own + centre + spread * noise
    effect = np.tanh(middle) + 0.3 * spread * last
    return pd.DataFrame({"dose": own, "middle": middle, "effect": effect})


@pytest.fixture(scope="module")
def model():
    return GraphGenerator(EDGES, random_state=0).fit(rows(0))


OTHER = {"centre": 1.0, "spread": 0.3}


def skill(made, truth, before):
    columns = ["middle", "effect"]
    made = pd.DataFrame(np.asarray(made), columns=truth.columns)
    return extrapolation_skill(
        *(table[columns].to_numpy() for table in (truth, made, before)),
        baseline="identity",
    )


def test_units_of_an_environment_keep_their_noise_under_an_intervention(model):
    before, truth = rows(1, **OTHER), rows(1, dose=-1.5, **OTHER)
    made = model.intervene({"dose": -1.5}, X=before)
    error = np.square(np.asarray(made) - truth).to_numpy().mean()
    assert error < 0.05 * np.square(truth - before).to_numpy().mean()


def test_many_rows_of_an_environment_come_from_its_resampled_units(model):
    before, truth = rows(1, **OTHER), rows(2, dose=-1.5, **OTHER)
    pool = before.sample(2000, replace=True, random_state=0)
    own = model.intervene({"dose": -1.5}, X=pool)
    population = model.intervene({"dose": -1.5}, n_samples=2000, random_state=0)
    assert skill(own, truth, before) > 0.9
    assert skill(population, truth, before) < 0.5


def test_abducted_noise_is_what_the_environment_changed(model):
    seen, other = (model.transform(rows(3, **shift)) for shift in ({}, OTHER))
    error = 5 / np.sqrt(N)
    assert abs(other[:, 0].mean() - seen[:, 0].mean()) < error
    assert other[:, 1].std() / seen[:, 1].std() == pytest.approx(0.3, abs=0.05)
    assert other[:, 1].mean() - seen[:, 1].mean() > 20 * error / 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:In a fold the environment")
def test_no_fold_of_a_search_over_a_modest_shift_is_nan():
    folds = []
    for seed in range(100):
        rng = np.random.RandomState(seed)
        n, shift = (30, 60)[seed % 2], (0.2, 0.5, 0.8)[seed % 3]
        first = rng.randn(2 * n) + np.repeat([0, shift], n)
        X = np.column_stack([first, 0.8 * first + 0.6 * rng.randn(2 * n)])
        search = GridSearchCV(
            GraphGenerator([(0, 1)], observational="seen", random_state=0),
            {"noise": ["kernel", "normal"], "mechanism": ["linear"]},
            cv=LeaveEnvironmentOut("seen", n_splits=3),
            scoring=make_extrapolation_scorer(
                {"moved": {"x0": Shift(shift)}}, observational="seen"
            ),
            refit=False,
        )
        search.fit(X, np.repeat(["seen", "moved"], n))
        folds += [search.cv_results_[f"split{k}_test_score"] for k in range(3)]
    assert np.isfinite(folds).all()
