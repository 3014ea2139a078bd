"""How often intervals hold what a score tends to, for `score_validity.py`.

The models of a cell are fitted again, and draw (or are asked for counterfactuals of)
as many rows as samples and their limit need. The limit of a score is its value on
`N_LIMIT` rows; intervals are those of `skill_interval` on disjoint samples of other
rows. Both have one fitted model: intervals cover the choice of the rows.
"""

import warnings
from functools import partial

import numpy as np
from _validity_cells import N_TRAIN, Sources, cached
from _validity_worlds import maker_of

from sklearn_icm.metrics import skill_interval
from sklearn_icm.metrics._skill import skill_components

N_LIMIT, N_SAMPLED, MOST_SAMPLES = 10_000, 5_000, 20
N_ROWS = (500, 200)
METRICS = ("metrics/_skill.py", "metrics/_distances")


def coverage(world, seed, predict="draws", stale=False):
    """``{(model's name, rows of a sample): (limit, intervals)}``.

    Intervals have the shape (n_samples, 3): skill, low, high.
    """
    maker, sources = maker_of(world)
    files = (*sources.files, "_validity_coverage.py")
    sources = Sources(files, sources.params, METRICS)
    make = partial(coverage_arm, maker, seed, predict)
    found = cached(world, seed, f"coverage of {predict}", sources, make, stale)
    limits = {k.split("|")[1]: v for k, v in found.items() if k.startswith("limit|")}
    return {
        (name, int(n)): (float(limits[name]), values)
        for key, values in found.items()
        if key.startswith("intervals|")
        for _, name, n in [key.split("|")]
    }


def coverage_arm(maker, seed, predict):
    n_pool = N_LIMIT + N_SAMPLED
    n_asked = n_pool if predict == "rows" else 500
    world = maker(seed, n_rows=N_TRAIN + n_asked + n_pool)
    asked = slice(N_TRAIN, N_TRAIN + n_asked)
    X_obs = world.numeric(world.usual[asked])
    units = world.units(X_obs)
    X_env = world.numeric(world.moved[asked.stop :]) / units
    arrays = {}
    for name, rows in predictions(world, asked, predict, n_pool):
        rows = world.numeric(rows) / units
        limit = skill_components(X_env[:N_LIMIT], rows[:N_LIMIT], rows[:N_LIMIT])
        arrays[f"limit|{name}"] = np.array(limit["skill"])
        for n in N_ROWS:
            starts = np.arange(N_LIMIT, n_pool - n + 1, n)[:MOST_SAMPLES]
            found = []
            for start in starts:
                part = slice(start, start + n)
                # Under the mean row as the zero the third sample counts for nothing.
                bunch = skill_interval(X_env[part], rows[part], rows[part])
                found.append([bunch.skill, bunch.low, bunch.high])
            arrays[f"intervals|{name}|{n}"] = np.array(found)
    return arrays


def predictions(world, asked, predict, n_pool):
    """Names and rows of the candidates, a model and a change once if they are drawn."""
    fitted, seen = {}, set()
    with warnings.catch_warnings():
        # Collapsed and clipped models are asked for.
        warnings.simplefilter("ignore", UserWarning)
        for name, (of, change, residual) in world.candidates.items():
            if of not in fitted:
                fitted[of] = world.models[of](world.usual[:N_TRAIN])
            model, query = fitted[of], {"n_samples": n_pool}
            if predict == "rows":
                query = {"X": world.usual[asked], "residual": residual}
                query |= world.known(asked)
            elif (of, change) in seen:
                continue
            seen.add((of, change))
            yield name, model.intervene(change(model), random_state=0, **query)
