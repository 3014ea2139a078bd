"""Are values among those that a mechanism was fitted to?"""

from collections import Counter

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from .reports import Verdict
from .rows import RESOLUTION
from .units import column_units

__all__ = ["MOST_FITTED", "found_of", "support_distances", "verdict_on"]

# Fitted rows that others are compared with.
MOST_FITTED = 1000
# Share of the fitted rows that are outside of the support of the others.
OUTSIDE = 0.01
N_NEIGHBOURS = 5
# Share of rows outside up to which a verdict is "inside", and how far they may be
# outside to be "at the edge", in standard deviations.
MOST_OUTSIDE, EDGE = 0.05, 0.5
INSIDE, AT_THE_EDGE, BEYOND, UNSEEN = VERDICTS = (
    *("inside", "at the edge", "beyond", "unseen"),
)
PLACES = {
    AT_THE_EDGE: "At the edge of the fitted rows",
    BEYOND: "Beyond the fitted rows",
    UNSEEN: "Unseen in the fitted rows",
}
COLUMNS = ["parents", "outside", "beyond", "distance", "distance_95", "limit"]
COLUMNS += ["kind", "verdict"]
# Mechanisms that a sentence names.
MOST_NAMED = 4


def support_distances(fitted, given, n_levels):
    """Distance of joint values to the fitted ones, and how far these are apart.

    Parameters
    ----------
    fitted, given : list of ndarray of shape (n_samples, ...)
        Values of some nodes, such as the parents of one, each with as many rows.
    n_levels : list of int
        Number of levels of each node whose values are codes; 0 of numbers.

    Returns
    -------
    distances : ndarray of shape (n_given,)
        Mean Euclidean distance to the 5 nearest fitted rows. The unit of a node is its
        standard deviation, clipped as in `column_units` (of many entries, the root of
        their mean variance); levels are 1 apart. Infinite where a node was constant,
        and is not; and for a combination of levels that no fitted row has, where at
        most 1 % of them are the only ones with theirs.
    limit : float
        Of the fitted rows 1 % are farther than it from the other ones. What is farther
        is outside of their support; all is, where fewer than two rows are known.

    References
    ----------
    Angiulli, Pizzuti (2002), *Fast outlier detection in high dimensional spaces*
    (distances to k neighbours). Laxhammar, Falkman (2011), *Sequential conformal
    anomaly detection in trajectories* (their quantile as the limit).

    Examples
    --------
    >>> known, new = np.arange(100.0)[:, None], np.array([[50.0], [200.0]])
    >>> distances, limit = support_distances([known], [new], [0])
    >>> (distances > limit).tolist()
    [False, True]
    """
    n_neighbours = min(N_NEIGHBOURS, len(fitted[0]) - 1)
    if n_neighbours < 1:
        return np.full(len(given[0]), np.inf), 0.0
    left, parts, rounding = _is_new(fitted, given, n_levels), [], RESOLUTION
    for known, new, n in zip(fitted, given, n_levels, strict=True):
        if n:
            levels = np.sqrt(0.5) * np.eye(n)
            parts.append([levels[rows[:, 0].astype(int)] for rows in (known, new)])
            continue
        known, new = (v.reshape(len(v), -1).astype(np.float64) for v in (known, new))
        unit = np.sqrt(np.mean(np.square(column_units(known))))
        resolution = RESOLUTION * np.abs(known).max()
        if unit == 0:
            left |= (np.abs(new - known[0]) > resolution).any(1)
            unit = np.inf
        # Equal values of a few may differ by it, and be no distance apart.
        rounding = max(rounding, resolution / unit)
        parts.append([(rows - known[0]) / unit for rows in (known, new)])
    known, new = map(np.hstack, zip(*parts, strict=True))
    neighbours = NearestNeighbors(n_neighbors=n_neighbours).fit(known)
    usual, distances = (neighbours.kneighbors(rows)[0].mean(1) for rows in (None, new))
    limit = np.quantile(usual, 1 - OUTSIDE, method="higher") + rounding
    return np.where(left, np.inf, distances), limit


def found_of(distances, limit):
    """What distances of rows say together: the numbers of a table, and a word."""
    outside = distances > limit
    far = distances[outside] - limit
    found = {
        "outside": outside.mean(),
        "beyond": np.median(far) if len(far) else 0.0,
        "distance": np.median(distances),
        "distance_95": np.quantile(distances, 0.95, method="higher"),
        "limit": limit,
    }
    if found["outside"] <= MOST_OUTSIDE:
        return {**found, "verdict": INSIDE}
    if not np.isfinite(found["beyond"]):
        return {**found, "verdict": UNSEEN}
    return {**found, "verdict": AT_THE_EDGE if found["beyond"] <= EDGE else BEYOND}


def verdict_on(rows):
    """Report on a query.

    Parameters
    ----------
    rows : dict of str to dict
        By mechanism what `found_of` finds, its "parents", its "kind", and what the
        answer "relies on" where it is outside.

    Returns
    -------
    Verdict
    """
    table = pd.DataFrame.from_dict(rows, "index", columns=[*COLUMNS, "relies on"])
    told = {"query": _of_query(table)}
    told |= {name: _of_mechanism(own) for name, own in table.iterrows()}
    table = table[COLUMNS].rename_axis("mechanism")
    return Verdict(table, pd.Series(told, dtype=object))


def _of_query(table):
    """One sentence for the whole."""
    if not len(table):
        return "The interventions change the input of no mechanism."
    worst = max(table["verdict"], key=VERDICTS.index)
    left = table if worst == INSIDE else table[table["verdict"] != INSIDE]
    order = -left["verdict"].map(VERDICTS.index).to_numpy()
    left = left.iloc[np.argsort(order, kind="stable")]
    named, n_more = left[:MOST_NAMED], max(len(left) - MOST_NAMED, 0)
    more = [f"{n_more} more"] * (n_more > 0)
    if worst == INSIDE:
        asked = "is asked" if len(left) == 1 else "are asked"
        names = _listed([*named.index, *more])
        return f"Inside: {names} {asked} about values like those of the fitted rows."
    places = [f"{name} ({_share(own)}{_far(own)})" for name, own in named.iterrows()]
    return (
        f"{PLACES[worst]} at {_listed([*places, *more])}: the answer relies on "
        f"{_listed([*named['relies on'], *more])}. No interval covers that."
    )


def _of_mechanism(own):
    """One sentence for a mechanism."""
    word, parents = own["verdict"].capitalize(), own["parents"]
    if own["verdict"] == INSIDE:
        return f"{word}: {100 - 100 * own['outside']:.0f} % of the units are."
    if own["verdict"] == UNSEEN:
        together = " together" * (", " in parents)
        return (
            f"{word}: {_share(own)} have values of {parents} that no fitted row "
            f"had{together}. The answer is a guess."
        )
    return (
        f"{word}: {_share(own)} have values of {parents} outside of the fitted rows"
        f"{_far(own)}. It relies on {own['relies on']}."
    )


def _share(own):
    return f"{100 * own['outside']:.0f} % of the units"


def _far(own):
    return f", by {own['beyond']:.1f} sd" if np.isfinite(own["beyond"]) else ""


def _listed(parts):
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _is_new(fitted, given, n_levels):
    """Which rows have a combination of levels that is new, where that says something.

    What share of new rows has one, the fitted rows tell that are the only ones of
    theirs (Good, 1953).
    """
    which = np.flatnonzero(n_levels)
    known, new = (
        list(zip(*(side[k][:, 0].astype(int).tolist() for k in which), strict=True))
        for side in (fitted, given)
    )
    counts = Counter(known)
    if not known or sum(n == 1 for n in counts.values()) > OUTSIDE * len(known):
        return np.zeros(len(given[0]), bool)
    return np.array([levels not in counts for levels in new])
