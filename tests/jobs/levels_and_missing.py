"""A CSV with levels and missing values over a graph: what does the drug do?

Doctors give the drug to severe cases, so that the treated are worse off; it lowers the
score by 2 for everybody.
"""

import io

import numpy as np
import pandas as pd

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import average_effect

rng = np.random.default_rng(0)
n = 2000
severity = rng.choice(["mild", "severe"], n, p=[0.6, 0.4])
is_severe = severity == "severe"
age = rng.normal(50, 10, n)
treated = rng.uniform(size=n) < np.where(is_severe, 0.8, 0.2)
score = 10 + 5 * is_severe - 2 * treated + 0.1 * (age - 50) + rng.normal(size=n)
table = pd.DataFrame(
    {
        "severity": severity,
        "age": age.round(1),
        "treatment": np.where(treated, "drug", "placebo"),
        "score": score,
    }
)
# A file as people have them: some ages and some scores (more often of severe cases)
# were not written down.
table.loc[rng.uniform(size=n) < 0.1, "age"] = np.nan
table.loc[rng.uniform(size=n) < np.where(is_severe, 0.3, 0.1), "score"] = np.nan
csv = io.StringIO(table.to_csv(index=False))

# %%
table = pd.read_csv(csv)
edges = [
    ("severity", "treatment"),
    ("severity", "score"),
    ("treatment", "score"),
    ("age", "score"),
]
model = GraphGenerator(edges, missing="available", max_epochs=30, random_state=0)
model.fit(table)
print(model.mechanism_kinds_)

# %%
means = table.groupby("treatment")["score"].mean()
naive = means["drug"] - means["placebo"]
found = average_effect(model, "treatment", "drug", "placebo", "score", random_state=0)
print(f"Seen: {naive:+.2f}; under the intervention: {found.effect:+.2f} (truth: -2).")
assert naive > 0
assert abs(found.effect + 2) < 0.3

# %%
# Single patients: what would their score have been without the drug?
# What was not written down is drawn, given the rest of the row.
patients = table[table["treatment"] == "drug"].head(100)
model.set_output(transform="pandas")
without = model.intervene({"treatment": "placebo"}, X=patients)
assert (without["treatment"] == "placebo").all()
assert (without["severity"] == patients["severity"]).all()
assert without.notna().to_numpy().all()
gain = (without["score"] - patients["score"]).dropna()
print(f"Without it these patients would have scored {gain.mean():+.2f} more.")
assert (gain - 2).abs().max() < 0.6
