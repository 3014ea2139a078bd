"""Figures of tables over a graph."""

import numpy as np
import pandas as pd

from .style import BLUE, ORANGE, axes


def getting_started():
    from sklearn_icm.generators import GraphGenerator

    rng = np.random.RandomState(0)
    age = rng.normal(50, 12, 600)
    dose = 0.05 * age + rng.normal(0, 1, 600)
    score = 60 - 0.4 * age + 5 * np.tanh(dose - 2.5) + rng.normal(0, 2, 600)
    table = pd.DataFrame({"age": age, "dose": dose, "score": score})
    graph = {"dose": "age", "score": ["age", "dose"]}
    model = GraphGenerator(graph, random_state=0).fit(table)
    doses = np.linspace(0.5, 4.5, 9)
    answers = [
        model.intervene({"dose": d}, n_samples=4000, random_state=0)[:, 2].mean()
        for d in doses
    ]
    seen = [score[np.abs(dose - d) < 0.25].mean() for d in doses]
    figure, ax = axes()
    ax.plot(dose, score, ".", color="0.8", markersize=3, label="rows")
    ax.plot(doses, seen, "-", label="their mean", color=ORANGE)
    ax.plot(doses, 40 + 5 * np.tanh(doses - 2.5), "k--", label="truth, do(dose)")
    ax.plot(doses, answers, "o-", color=BLUE, label="model, do(dose)")
    ax.set(xlabel="dose", ylabel="score", ylim=(25, 55))
    ax.legend(ncols=2)
    return figure


def assumptions():
    from sklearn_icm.generators import GraphGenerator
    from sklearn_icm.metrics import average_effect

    figure, ax = axes()
    strengths = np.linspace(0, 1.5, 7)
    for n_rows, colour in ((300, BLUE), (6000, ORANGE)):
        found = []
        for a in strengths:
            rng = np.random.RandomState(0)
            cause, e1, e2 = rng.randn(3, n_rows)
            dose = a * cause + e1
            X = np.column_stack([dose, dose + a * cause + e2])
            model = GraphGenerator([(0, 1)], mechanism="linear", random_state=0)
            effect = average_effect(model.fit(X), "x0", 1.0, 0.0, 1, random_state=0)
            found.append(effect.effect)
        ax.plot(strengths, found, "o", color=colour, label=f"model, {n_rows} rows")
    ax.plot(strengths, 1 + strengths**2 / (1 + strengths**2), "k-", label="formula")
    ax.axhline(1, color="0.6", linestyle="--", label="truth")
    ax.set(
        xlabel="a = c: how much the hidden cause moves both",
        ylabel="effect of the dose",
    )
    ax.legend()
    return figure


def counterfactuals():
    from sklearn_icm.generators import GraphGenerator

    rng = np.random.RandomState(0)
    effort = rng.normal(5, 1, 500)
    X = np.column_stack([effort, 2 * effort + rng.normal(0, 3, 500)])
    model = GraphGenerator([(0, 1)], random_state=0).fit(X)
    figure, (left, right) = axes(2, 7, 3, sharey=True)
    drawn = model.intervene({"x0": 7.0}, n_samples=300, random_state=0)
    left.plot(*X[:300].T, ".", color="0.7", markersize=4, label="rows")
    shown = 7 + rng.uniform(-0.05, 0.05, 300)
    left.plot(
        shown,
        drawn[:, 1],
        ".",
        color=ORANGE,
        markersize=4,
        label="draws, do(effort = 7)",
    )
    pupils = X[:12]
    after = model.intervene({"x0": 7.0}, X=pupils)
    right.plot(*pupils.T, "o", color="0.5", markersize=4, label="pupils")
    right.plot(
        np.stack([pupils[:, 0], after[:, 0]]),
        np.stack([pupils[:, 1], after[:, 1]]),
        color=BLUE,
        linewidth=0.8,
    )
    right.plot(
        *after.T, "o", color=BLUE, markersize=4, label="the same, had effort been 7"
    )
    left.set(xlabel="effort", ylabel="grade", title="intervention")
    right.set(xlabel="effort", title="counterfactuals")
    left.legend(loc="upper left")
    right.legend(loc="upper left")
    return figure


def tables():
    from sklearn_icm.generators import GraphGenerator
    from sklearn_icm.inspection import GraphInterventionDisplay

    rng = np.random.RandomState(0)
    severe = rng.rand(600) < 0.4
    drug = rng.rand(600) < np.where(severe, 0.8, 0.2)
    stay = 6 + 5 * severe - 2 * drug + rng.normal(0, 1, 600)
    table = pd.DataFrame(
        {
            "severity": np.where(severe, "severe", "mild"),
            "drug": np.where(drug, "yes", "no"),
            "stay": stay,
            "cost": 100 * stay + rng.normal(0, 30, 600),
        }
    )
    graph = {"drug": "severity", "stay": ["severity", "drug"], "cost": "stay"}
    model = GraphGenerator(graph, random_state=0).fit(table)
    figure, ax = axes(width=5, height=2.6)
    GraphInterventionDisplay.from_estimator(
        model, {"drug": "yes"}, n_samples=2000, random_state=0, ax=ax
    )
    return figure


def hidden_causes():
    from sklearn_icm.generators import GraphGenerator

    rng = np.random.RandomState(0)
    cause = rng.randn(800)
    proxies = np.tanh(np.outer(cause, [0.8, -1.2, 1.0, -0.9])) + 0.4 * rng.randn(800, 4)
    table = pd.DataFrame(proxies, columns=["fever", "pulse", "sleep", "diet"])
    table["dose"] = np.tanh(1.5 * cause) + 0.5 * rng.randn(800)
    table["outcome"] = (
        np.sin(table["dose"]) + 1.2 * np.tanh(cause) + 0.3 * rng.randn(800)
    )
    edges = [("dose", "outcome")]
    hidden = [("severity", column) for column in table]
    named = GraphGenerator(
        edges + hidden, unobserved={"severity": 1}, max_epochs=30, random_state=0
    )
    doses = np.linspace(-1.5, 1.5, 7)
    figure, ax = axes()
    ax.plot(table["dose"], table["outcome"], ".", color="0.85", markersize=3)
    ax.plot(doses, np.sin(doses), "k--", label="truth")
    for name, model in (
        ("hidden node", named),
        ("ignored", GraphGenerator(edges, random_state=0)),
    ):
        model.fit(table)
        means = [
            model.intervene({"dose": d}, n_samples=4000, random_state=0)[:, -1].mean()
            for d in doses
        ]
        ax.plot(doses, means, "o-", label=name)
    ax.set(xlabel="do(dose)", ylabel="mean outcome")
    ax.legend()
    return figure


def environments():
    from sklearn_icm.generators import GraphGenerator
    from sklearn_icm.interventions import Shift
    from sklearn_icm.metrics import column_units, energy_distance

    def plant(n, opened, seed):
        rng = np.random.RandomState(seed)
        valve = rng.normal(2 + opened, 0.5, n)
        flow = 3 * valve + rng.normal(0, 1, n)
        heat = 40 - 2 * flow + rng.normal(0, 1, n)
        return pd.DataFrame({"valve": valve, "flow": flow, "heat": heat})

    before, after = plant(1500, 0.0, 0), plant(300, 0.8, 2)
    model = GraphGenerator([("valve", "flow"), ("flow", "heat")], random_state=0)
    model.fit(before)
    units = column_units(before)
    figure, ax = axes()
    for node in before:
        steps = (
            np.linspace(-0.5, 2.0, 26) * units[before.columns.get_loc(node)] / units[0]
        )
        distances = [
            energy_distance(
                after,
                model.intervene({node: Shift(s)}, n_samples=1000, random_state=0),
                units=units,
            )
            for s in steps
        ]
        ax.plot(
            steps / units[before.columns.get_loc(node)],
            distances,
            label=f"shift of {node}",
        )
    floor = energy_distance(after, plant(1000, 0.8, 9), units=units)
    ax.axhline(max(floor, 0), color="0.6", label="other rows of that week")
    ax.set(xlabel="shift, in spreads of the column", ylabel="energy distance")
    ax.legend()
    return figure


def uncertainty():
    from sklearn_icm.compose import BootstrapGenerator
    from sklearn_icm.generators import GraphGenerator
    from sklearn_icm.metrics import average_effect

    rng = np.random.RandomState(1)
    dose = rng.normal(0, 1, 200)
    X = np.column_stack([dose, np.tanh(dose) + rng.normal(0, 0.4, 200)])
    values = np.linspace(-4, 4, 17)
    figure, both = axes(2, 7.4, 3, sharey=True)
    for ax, kind in zip(both, ("linear", "auto"), strict=True):
        graph = GraphGenerator([(0, 1)], mechanism=kind, random_state=0)
        models = {
            "draws and refits": (BootstrapGenerator(graph, random_state=0), BLUE, 0.35),
            "draws only": (graph, ORANGE, 1),
        }
        for name, (model, colour, alpha) in models.items():
            model.fit(X)
            found = [
                average_effect(model, "x0", v, 0.0, 1, random_state=0) for v in values
            ]
            low, high = ([getattr(f, end) for f in found] for end in ("low", "high"))
            ax.fill_between(values, low, high, color=colour, alpha=alpha, label=name)
            if colour == ORANGE:  # too narrow to be seen
                ax.plot(values, low, color=colour)
        ax.plot(values, np.tanh(values), "k--", label="truth")
        ax.axvspan(dose.min(), dose.max(), color="0.95", zorder=0)
        ax.set(xlabel="value that is set", title=f'mechanism="{kind}"')
    both[0].text(0, -3.4, "rows", ha="center", color="0.4")
    both[0].set_ylabel("effect against 0")
    both[0].legend(loc="upper left")
    return figure


def pipelines():
    from sklearn_icm.datasets import make_scm
    from sklearn_icm.generators import GraphGenerator
    from sklearn_icm.metrics import make_extrapolation_scorer
    from sklearn_icm.model_selection import LeaveEnvironmentOut

    changes = {"mild": {"x0": 1.0}, "strong": {"x0": 2.0}}
    world = make_scm(300, n_nodes=4, density=0.8, interventions=changes, random_state=1)
    X, labels = world.data, world.environments
    kinds = ["linear", "additive", "location-scale", "auto"]
    figure, ax = axes(height=2.8)
    models = {kind: [] for kind in kinds}
    cv = LeaveEnvironmentOut("observational")
    for train, _ in cv.split(X, labels):
        for kind in kinds:
            model = GraphGenerator(
                world.graph,
                mechanism=kind,
                observational="observational",
                random_state=0,
            )
            models[kind].append(model.fit(X[train], labels[train]))
    for label, role in (("mild", "chooses"), ("strong", "judges")):
        scorer = make_extrapolation_scorer(
            {label: changes[label]}, observational="observational"
        )
        kept = np.isin(labels, ["observational", label])
        scores = np.array(
            [
                [
                    scorer(
                        models[kind][fold],
                        X[test][kept[test]],
                        labels[test][kept[test]],
                    )
                    for kind in kinds
                ]
                for fold, (_, test) in enumerate(cv.split(X, labels))
            ]
        )
        ax.errorbar(
            range(len(kinds)),
            scores.mean(0),
            scores.std(0),
            fmt="o-",
            capsize=3,
            label=f"{label}, which {role}",
        )
    ax.set(
        xticks=range(len(kinds)), xticklabels=kinds, ylabel="skill", xlabel="mechanism"
    )
    ax.legend()
    return figure


def pitfalls():
    from sklearn_icm.generators import GraphGenerator

    rng = np.random.RandomState(0)
    cause = rng.normal(0, 1, 400)
    X = np.column_stack([cause, np.tanh(cause) + rng.normal(0, 0.2, 400)])
    values = np.linspace(-4, 4, 33)
    figure, ax = axes()
    ax.plot(*X.T, ".", color="0.85", markersize=3, label="rows")
    for kind in ("linear", "additive", "energy"):
        model = GraphGenerator([(0, 1)], mechanism=kind, random_state=0).fit(X)
        means = [
            model.intervene({"x0": v}, n_samples=1000, random_state=0)[:, 1].mean()
            for v in values
        ]
        ax.plot(values, means, label=f'"{kind}"')
    ax.plot(values, np.tanh(values), "k--", label="truth")
    ax.axvspan(cause.min(), cause.max(), color="0.96", zorder=0)
    ax.set(xlabel="do(cause)", ylabel="mean effect")
    ax.legend()
    return figure


def peers():
    """Means of benchmarks/RESULTS.md, additive worlds: "kinds chosen on all rows".

    dowhy, from "fresh worlds", has the first five of the ten worlds.
    """
    found = {
        "auto": ((0.999, 0.822), (0.993, 0.764)),
        "dowhy auto": ((0.977, 0.535), (0.912, 0.254)),
        "linear SCM": ((0.827, -1.680), (0.733, -1.248)),
        "no graph, 50 near": ((0.944, 0.771), (0.723, 0.465)),
    }
    figure, both = axes(2, 7.4, 2.8, sharey=True)
    for k, (ax, columns) in enumerate(zip(both, (5, 10), strict=True)):
        for row, skills in enumerate(found.values()):
            for shift, (skill, colour) in enumerate(
                zip(skills[k], (BLUE, ORANGE), strict=True)
            ):
                y = row + 0.36 * (shift - 0.5)
                label = ("inside", "2 sd outside")[shift] if row == 0 else None
                ax.barh(y, max(skill, -0.6), 0.34, color=colour, label=label)
                if skill < -0.6:
                    ax.text(
                        -0.58, y, f"{skill:.2f}", va="center", fontsize=8, color="w"
                    )
        ax.set(xlim=(-0.6, 1.02), xlabel="skill", title=f"{columns} columns")
        ax.set(yticks=range(len(found)), yticklabels=list(found))
        ax.axvline(0, color="k", linewidth=0.6)
    both[0].invert_yaxis()
    both[1].legend(loc="lower left", fontsize=7.5)
    return figure
