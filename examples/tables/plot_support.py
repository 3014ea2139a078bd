"""
Where does an answer end?
=========================

A model answers every question, also one about doses that nobody took. Refits say how
sure an answer is where there are rows; ``support`` says where there are none, which
refits may not know.
"""

# %%
# The truth: the response rises and falls again, and doses beyond 2 did not occur.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator

rng = np.random.RandomState(0)
n = 1000
weight = rng.randn(n)
dose = 2 * np.tanh(0.5 * weight + rng.randn(n))


def response(dose):
    return 2 * np.sin(dose)


noise = 0.5 * weight + 0.4 * rng.randn(n)
table = pd.DataFrame(
    {"weight": weight, "dose": dose, "response": response(dose) + noise}
)

# %%
edges = [("weight", "dose"), ("weight", "response"), ("dose", "response")]
model = BootstrapGenerator(
    GraphGenerator(edges, max_epochs=60, random_state=0),
    n_estimators=10,
    random_state=0,
).fit(table)

# %%
# The mean response under each dose, its interval, and whether it was ever seen.
doses = np.linspace(-5, 5, 21)


def means(fitted):
    draws = {"n_samples": 1000, "random_state": 0}
    return [fitted.intervene({"dose": d}, **draws)[:, -1].mean() for d in doses]


found = model.interval(means)
outside = np.array(
    [model.support({"dose": d}).table_.loc["response", "outside"] for d in doses]
)

# %%
figure, (top, bottom) = plt.subplots(
    *(2, 1), figsize=(6, 5), sharex=True, layout="constrained", height_ratios=[3, 1]
)
top.plot(table["dose"], table["response"], ".", color="0.85", label="rows")
top.plot(doses, response(doses), "k--", label="truth")
top.plot(doses, found.estimate, "oC0", label="model")
top.fill_between(doses, found.low, found.high, alpha=0.25, label="95 % of refits")
top.set(ylabel="mean response", ylim=(-4, 5))
top.legend(ncols=2)
bottom.bar(doses, outside, width=0.4, color="C1")
bottom.set(xlabel="do(dose)", ylabel="share outside", ylim=(0, 1))

# %%
# The finding.
held = (found.low <= response(doses)) & (response(doses) <= found.high)
off = np.abs(found.estimate - response(doses))
seen = outside < 0.05
print(
    f"Of {seen.sum()} doses that lie within the rows the mean response is off by "
    f"{off[seen].mean():.2f} and the interval holds the truth in {held[seen].sum()}; "
    f"of {(~seen).sum()} beyond them by {off[~seen].mean():.2f}, and in "
    f"{held[~seen].sum()}."
)
