"""Comparing two models: does knowing the graph predict an intervention better?

Both are fitted to the same rows of a world whose intervention is known: one gets the
true graph, the other one in which the changed column has no effects.
"""

import numpy as np

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.metrics import evaluate, make_extrapolation_scorer

world = make_scm(1500, n_nodes=4, density=1.0, random_state=3)
source = list(world.graph)[0]  # The first of all causes.
change = {source: 1.5}
print("Parents:", world.graph)

# %%
right = {node: list(parents) for node, parents in world.graph.items()}
wrong = {n: [p for p in parents if p != source] for n, parents in right.items()}
models = {
    name: GraphGenerator(graph, max_epochs=40, random_state=0).fit(world.data)
    for name, graph in {"right": right, "wrong": wrong}.items()
}

# %%
# New rows of the same world, as they are and under the intervention: its true
# mechanisms are a generator too.
truth = FixedGenerator(world.mechanisms).fit(world.data)
new = truth.sample(500, random_state=1)
done = truth.intervene(change, n_samples=500, random_state=2)
X, labels = np.concatenate([new, done]), np.repeat(["usual", "done"], 500)

# %%
scorer = make_extrapolation_scorer({"done": change}, observational="usual")
tables = {}
for name, model in models.items():
    report = scorer.report(model, X, labels, random_state=0)
    tables[name] = report.table_.loc["done"]
    print(f"{name} graph: {report}")
assert tables["right"]["low"] > tables["wrong"]["high"]
assert tables["right"]["skill"] > 0.9

# %%
# Column by column, on rows that neither was fitted to.
skills = {name: evaluate(model, new).table_["skill"] for name, model in models.items()}
children = [node for node, parents in right.items() if source in parents]
print(skills["right"].round(2).to_dict(), skills["wrong"].round(2).to_dict())
better = (skills["right"] - skills["wrong"])[children]
assert better.min() > -0.02
assert better.max() > 0.1
