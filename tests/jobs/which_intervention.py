"""Which intervention made this shift? A valve was opened in one week of a plant."""

import numpy as np
import pandas as pd

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.model_selection import fit_intervention

EDGES = [("feed", "flow"), ("valve", "flow"), ("flow", "heat"), ("heat", "yield")]


def week(n, seed, opened=0.0):
    """Rows of one week; the valve is opened by so much."""
    e = np.random.default_rng(seed).normal(size=(5, n))
    feed, valve = e[0], e[1] + opened
    flow = feed + 0.8 * valve + 0.5 * e[2]
    heat = np.tanh(flow) + 0.3 * e[3]
    product = 2 * heat + 0.5 * e[4]
    return pd.DataFrame(
        {"feed": feed, "valve": valve, "flow": flow, "heat": heat, "yield": product}
    )


usual, unseen, strange = week(1500, 0), week(300, 1), week(300, 2, opened=1.5)
model = GraphGenerator(EDGES, max_epochs=40, random_state=0).fit(usual)

# %%
# A week like the others needs no explanation.
families = ["shift", "scale"]
control = fit_intervention(model, families, unseen, random_state=0)
print("Another usual week:", control.sentences_["conclusion"])
assert control.intervention == {}

# %%
found = fit_intervention(model, families, strange, random_state=0)
print("The strange week:", found.sentences_["conclusion"])
print(found.table_[["node", "family", "params", "skill", "as_good"]].head(3))
assert list(found.intervention) == ["valve"]

# %%
low, high = found.low["value"], found.high["value"]
print(f"The valve was opened by {found.params['value']:.2f} [{low:.2f}, {high:.2f}].")
assert low - 0.1 < 1.5 < high + 0.1
