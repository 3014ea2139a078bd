"""Choosing icm_weight: does the penalty help to predict wide pairs from narrow ones?

The pairs come with their true counterfactuals, so that the choice can be checked.
"""

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_icm.datasets import make_glyph_pairs
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut, search_results

WEIGHTS = [0, 1, 1000]
pairs = make_glyph_pairs(300, stretch=1.3, random_state=0)
change = {"conv2": Stretch(1.3)}

# %%
search = GridSearchCV(
    VAEGenerator(
        pairs.data_shape,
        observational="narrow",
        batch_size=16,
        max_epochs=30,
        random_state=0,
    ),
    {"icm_weight": WEIGHTS},
    scoring=make_extrapolation_scorer({"wide": change}, observational="narrow"),
    cv=LeaveEnvironmentOut("narrow", n_splits=2),
)
search.fit(pairs.data, pairs.environments)
table = search_results(search)
print(table.T)
scores = dict(zip(WEIGHTS, search.cv_results_["mean_test_score"], strict=True))
chosen = search.best_params_["icm_weight"]

# %%
# What was not shown to the search: each pair's true counterfactual.
narrow, wide = pairs.data[pairs.pairs]
spread, errors = np.square(wide - wide.mean(0)).sum(), {}
for weight in WEIGHTS:
    model = clone(search.best_estimator_).set_params(icm_weight=weight)
    model.fit(pairs.data, pairs.environments)
    answer = model.intervene(change, X=narrow, residual="drop")
    errors[weight] = np.square(answer - wide).sum() / spread
    print(
        f"icm_weight={weight}: score {scores[weight]:.3f}, error {errors[weight]:.3f}"
    )
print(f"icm_weight={chosen} was chosen; its true error is {errors[chosen]:.2f}.")
assert search.best_score_ > 0.2
assert errors[chosen] < min(errors.values()) + 0.1
