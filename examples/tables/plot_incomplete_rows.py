"""
A discount for some, and rows with holes
========================================

Older customers left their income out more often. Who drops these rows asks about
others than meant; ``missing="available"`` fills each hole by what the rest of the row
says, and keeps all customers in the answer.
"""

# %%
# Income drives spending, and so does a discount. Income is missing by age.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import what_if_report
from sklearn_icm.interventions import Policy
from sklearn_icm.metrics import average_effect

rng = np.random.RandomState(0)
n = 1500
age = rng.normal(45, 12, n)
income = 30 + 0.4 * (age - 45) + rng.normal(0, 6, n)
discount = np.clip(rng.normal(10, 4, n), 0, None)
gain = 0.05 * (60 - age) * discount  # The young use it, the old do not.
spent = 20 + 0.8 * income + gain + rng.normal(0, 4, n)
table = pd.DataFrame(
    {"age": age, "income": income, "discount": discount, "spent": spent}
)
holes = table.copy()
holes.loc[rng.rand(n) < 1 / (1 + np.exp(-(age - 50) / 5)), "income"] = np.nan

# %%
graph = {"income": ["age"], "spent": ["age", "income", "discount"]}
single = GraphGenerator(graph, missing="available", random_state=0)
model = BootstrapGenerator(single, n_estimators=10, random_state=0).fit(holes)

# %%
# A discount of 20 instead of 10, for all rows, and for those without a hole alone.
question = ("discount", 20.0, 10.0, "spent")
truth = (0.05 * (60 - age) * 10).mean()
kept = holes.dropna()
answers = {
    "all rows": average_effect(model, *question, X=holes),
    "dropna": average_effect(model.estimator_, *question, X=kept),
}

# %%
# A rule instead of a number: twice the discount for those under forty. All that one
# should ask of it, on one page.
young = Policy(lambda age: np.where(age < 40, 20.0, 10.0), reads=("age",))
report = what_if_report(model, {"discount": young}, holes)
for name in ("effects", "most affected", "support"):
    print(f"{name}: {report.sentences_[name]}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for place, found in enumerate(answers.values()):
    ends = [[found.effect - found.low], [found.high - found.effect]]
    left.errorbar([found.effect], [place], xerr=ends, fmt="o", capsize=4)
left.axvline(truth, color="0.4", linestyle="--", label="truth")
left.set(yticks=[0, 1], yticklabels=list(answers), ylim=(-0.6, 1.6))
left.set(xlabel="effect of a discount of 20 instead of 10")
left.legend()
report.plot(ax=right)

# %%
# The finding.
found, others = answers["all rows"], answers["dropna"]
print(
    f"{len(holes) - len(kept)} of {n} rows have a hole. The effect is {truth:.1f}; "
    f"over all rows it is {found.effect:.1f} ({found.low:.1f} to {found.high:.1f}), "
    f"over complete ones {others.effect:.1f}."
)
