"""
Which mechanism changed, and what was done to it?
=================================================

One week a plant runs otherwise than before. All that is behind the cause has moved as
well; a test of the mechanisms names the one that changed, and a fitted intervention
says by how much.
"""

# %%
# The truth: in the strange week somebody opened the valve by 1.5.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import GraphInterventionDisplay
from sklearn_icm.metrics import mechanism_shift
from sklearn_icm.model_selection import fit_intervention

EDGES = [("feed", "flow"), ("valve", "flow"), ("flow", "heat"), ("heat", "yield")]


def week(n, seed, opened=0.0):
    e = np.random.default_rng(seed).normal(size=(5, n))
    feed, valve = e[0], e[1] + opened
    flow = feed + 0.8 * valve + 0.5 * e[2]
    heat = np.tanh(flow) + 0.3 * e[3]
    return pd.DataFrame(
        {"feed": feed, "valve": valve, "flow": flow, "heat": heat}
    ).assign(**{"yield": 2 * heat + 0.5 * e[4]})


usual, strange = week(800, 0), week(300, 2, opened=1.5)
table = pd.concat([usual, strange], ignore_index=True)
labels = np.repeat(["usual", "strange"], [800, 300])

# %%
# A fit to the usual weeks, and ten refits.
graph = GraphGenerator(EDGES, observational="usual", max_epochs=20, random_state=0)
model = BootstrapGenerator(graph, n_estimators=10, random_state=0)
model.fit(table, environments=labels)

# %%
# All columns behind the valve have moved, and one mechanism has changed.
report = mechanism_shift(model, table, labels)
print(report)
shifts = report.table_.set_index("node")
moved = (strange.mean() - usual.mean()) / usual.std()
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
axes[0].barh(moved.index, moved, color="C0")
axes[0].set(title="The columns", xlabel="shift of the mean, standard deviations")
ends = [shifts.distance - shifts.low.clip(lower=0), shifts.high - shifts.distance]
axes[1].barh(shifts.index, shifts.distance, xerr=np.abs(ends), color="C1", capsize=3)
axes[1].set(title="Their mechanisms", xlabel="energy distance of the noise")
axes[0].invert_yaxis()

# %%
# What was done? Shifts and scales of every column are tried.
found = fit_intervention(model, ["shift", "scale"], strange, random_state=0)
print(found.table_[["node", "family", "params", "skill"]].head(3).to_string())
GraphInterventionDisplay.from_estimator(model, found.intervention, random_state=0)

# %%
# The finding.
changed = shifts.index[shifts["changed"].fillna(False).astype(bool)]
low, high = found.low["value"], found.high["value"]
print(
    f"{(moved.abs() > 0.2).sum()} of 5 columns have moved, and the mechanism of "
    f"{' and '.join(changed)} has changed; of all shifts and scales, one of "
    f"{' and '.join(found.intervention)} by {found.params['value']:.2f} [{low:.2f}, "
    f"{high:.2f}] explains the week best, and the truth is a shift of valve by 1.5."
)
