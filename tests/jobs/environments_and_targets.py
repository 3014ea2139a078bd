"""Environments with targets: a trial sets the dose, and all rows are used together.

In practice the doctors' dose depends on severity; the trial draws it. What the dose
does to the outcome is the same in both.
"""

import numpy as np
import pandas as pd

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import average_effect, mechanism_shift

EDGES = [("severity", "dose"), ("severity", "outcome"), ("dose", "outcome")]
rng = np.random.default_rng(0)


def patients(n, in_trial):
    severity = rng.normal(size=n)
    dose = rng.normal(size=n) + (0 if in_trial else 1.5 * severity)
    outcome = -1.0 * dose + 2.0 * severity + 0.5 * rng.normal(size=n)
    return pd.DataFrame({"severity": severity, "dose": dose, "outcome": outcome})


table = pd.concat([patients(600, False), patients(300, True)], ignore_index=True)
place = np.repeat(["practice", "trial"], [600, 300])

# %%
# Which mechanisms differ? Fitted to practice alone, asked of the trial.
first = GraphGenerator(EDGES, observational="practice", max_epochs=30, random_state=0)
first.fit(table, environments=place)
report = mechanism_shift(first, table, place)
print(report)
shifts = report.table_
assert shifts.loc[shifts["changed"], "node"].tolist() == ["dose"]

# %%
# So the trial may be fitted too, but not as what doctors do.
model = GraphGenerator(EDGES, targets={"trial": "dose"}, max_epochs=30, random_state=0)
model.fit(table, environments=place)
found = average_effect(model, "dose", 1.0, 0.0, "outcome", random_state=0)
print(f"One more unit of the dose: {found.effect:+.2f} (truth: -1).")
assert abs(found.effect + 1) < 0.1

# %%
# The dose of the model is the doctors', as if the trial had not been fitted.
drawn = pd.DataFrame(model.sample(4000, random_state=0), columns=table.columns)
slope = np.polyfit(drawn["severity"], drawn["dose"], 1)[0]
pooled = np.polyfit(table["severity"], table["dose"], 1)[0]
print(f"Doctors' slope {slope:.2f} (truth: 1.5), of all rows together {pooled:.2f}.")
assert abs(slope - 1.5) < 0.15 < abs(pooled - 1.5)
