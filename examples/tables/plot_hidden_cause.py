"""
A cause that is not in the table
================================

A dose and an outcome share a cause that nobody measured; four proxies of it were. A
graph that knows of the hidden node answers what the outcome would be under another
dose; one that leaves it out takes the common cause for an effect.
"""

# %%
# The truth: the outcome is sin(dose), plus what the hidden cause adds.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import GraphInterventionDisplay

rng = np.random.RandomState(0)
cause = rng.randn(1500)
proxies = np.tanh(np.outer(cause, [0.8, -1.2, 1.0, -0.9])) + 0.4 * rng.randn(1500, 4)
table = pd.DataFrame(proxies, columns=["fever", "pulse", "sleep", "diet"])
table["dose"] = np.tanh(1.5 * cause) + 0.5 * rng.randn(1500)
table["outcome"] = np.sin(table["dose"]) + 1.2 * np.tanh(cause) + 0.3 * rng.randn(1500)

# %%
# One graph names the node that the table lacks, the other does not.
edges = [("dose", "outcome")]
severity = [("severity", column) for column in table]
models = {
    "hidden node": GraphGenerator(edges + severity, unobserved={"severity": 1}),
    "ignored": GraphGenerator(edges),
}
for model in models.values():
    model.set_params(max_epochs=30, random_state=0).fit(table)
models["hidden node"]

# %%
# Mean outcome under each dose. Rows at hand show what is seen, not what would be.
doses = np.linspace(-1.5, 1.5, 7)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(table["dose"], table["outcome"], ".", color="0.85", zorder=0)
ax.plot(doses, np.sin(doses), "k--", label="truth")
errors = {}
for name, model in models.items():
    means = [
        model.intervene({"dose": dose}, n_samples=4000, random_state=0)[:, -1].mean()
        for dose in doses
    ]
    errors[name] = np.abs(means - np.sin(doses)).mean()
    ax.plot(doses, means, "o-", label=name)
ax.set(xlabel="do(dose)", ylabel="mean outcome")
ax.legend()

# %%
# What moves when the hidden node does?
GraphInterventionDisplay.from_estimator(
    models["hidden node"], {"severity": 1.0}, n_samples=500
)

# %%
# The finding.
print(
    f"The mean outcome is off by {errors['hidden node']:.2f} with the hidden node and "
    f"by {errors['ignored']:.2f} without it."
)
