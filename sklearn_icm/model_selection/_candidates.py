"""Candidates for an intervention, and how far a model under each is from some rows."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..base import is_generator
from ..compose._wrap import in_input_space, rows_under
from ..exceptions import SearchLimitWarning
from ..interventions import families_for
from ..interventions._base import check_interventions
from ..interventions._families import as_family
from ..metrics import energy_distance
from ..metrics._distances.two_sample import statistics_of
from ..utils.checks import check_scalar
from ..utils.pipelines import last_step
from ..utils.units import in_units, row_units

__all__ = [
    "Comparison",
    "candidates_for",
    "ends_that_matter",
    "latin_design",
    "warn_of_ends",
]

LEAST_ROWS = 8
# Draws of the model per row of the environment, and limits of their number: more than
# these add little precision, since the rows of the environment are what is scarce.
DRAWS_PER_ROW, FEWEST_DRAWS, MOST_DRAWS = 3, 500, 2000
SEED_BOUND = 2**31 - 1
# Of the range of a parameter.
GRID, PRECISION = 11, 1e-3
# By how many widths an open end moves, how often, and the part of a distance that makes
# it worthwhile.
WIDTHS, MOST_MOVES, WORTHWHILE = 3, 4, 0.02


def _checked(est, X_env, least):
    """The model in input space, and rows of numbers of an environment there."""
    if not is_generator(est):
        raise TypeError(
            f"est must be a generator with `intervene`, got {type(est).__name__}."
        )
    check_is_fitted(last_step(est))
    est = in_input_space(est)
    X_env = est.space_.numeric(X_env, "X_env", ensure_min_samples=0)
    if len(X_env) < least:
        raise ValueError(
            f"X_env must have at least {least} rows, got {len(X_env)}. Fewer cannot "
            "tell a shift from chance."
        )
    return est, X_env


@dataclass
class Comparison:
    """An environment's rows, and how far a model under an intervention is from them.

    Parameters
    ----------
    est : fitted generator
    X_env : ndarray of shape (n, n_features)
        In the units.
    distance : {"energy"} or callable
    n_samples : int or None
        None takes a few for every row.
    seed : int
        Of all draws of the model.
    units : ndarray of shape (n_features,), or 1
        Of the columns, in which distances are taken.
    """

    est: object
    X_env: np.ndarray
    distance: object
    n_samples: int | None
    seed: int
    units: object = 1

    @classmethod
    def of(cls, est, X_env, distance, n_samples, random_state, *, units, least):
        """Check what a user gives, and fill in what is None."""
        est, X_env = _checked(est, X_env, least)
        if not callable(distance) and distance != "energy":
            raise ValueError(
                f"distance must be 'energy' or a callable, got {distance!r}."
            )
        if n_samples is not None:
            check_scalar(n_samples, "n_samples", Integral, min_val=LEAST_ROWS)
        if random_state is None:
            random_state = last_step(est).random_state_
        seed = check_random_state(random_state).randint(SEED_BOUND)
        bare = cls(est, X_env, distance, n_samples, seed)
        ready = row_units(est, bare.rows({}), X_env, units=units, distance=distance)
        return replace(bare, X_env=in_units(X_env, ready), units=ready)

    def part(self, rows, rng):
        """Comparison with some of the rows, with draws of its own."""
        return replace(self, X_env=self.X_env[rows], seed=rng.randint(SEED_BOUND))

    @property
    def n_draws(self):
        """Rows that are drawn from the model."""
        if self.n_samples is not None:
            return int(self.n_samples)
        wanted = DRAWS_PER_ROW * len(self.X_env)
        return min(max(wanted, FEWEST_DRAWS), MOST_DRAWS)

    def rows(self, interventions):
        """Draws of the model, one per row, in the units, with indicators of levels."""
        with warnings.catch_warnings():
            # A search goes where values are clipped or far from what was fitted;
            # whoever applies what it found is told then.
            for text in (
                "Intervened values left the",
                "The intervention on node .*outside",
            ):
                warnings.filterwarnings("ignore", message=text)
            drawn = rows_under(
                self.est,
                interventions,
                n_samples=self.n_draws,
                random_state=self.seed,
            )
        return in_units(self.est.space_.numeric(drawn, "The model"), self.units)

    def distance_to(self, interventions):
        """Distance of the environment and the model under an intervention."""
        measure = self.distance if callable(self.distance) else energy_distance
        value = float(measure(self.X_env, self.rows(interventions)))
        if not np.isfinite(value):
            raise ValueError(f"distance must return finite numbers, got {value}.")
        return value

    @cached_property
    def identity(self):
        """Distance of the environment and the unchanged model."""
        return self.distance_to({})

    @property
    def nodes(self):
        """Shapes of the nodes by name."""
        return dict(last_step(self.est).nodes_)

    @cached_property
    def node_sds(self):
        """Standard deviation of the values of each node; 1 for a constant node."""
        _, nodes = last_step(self.est).intervene(
            {}, n_samples=FEWEST_DRAWS, random_state=self.seed, return_nodes=True
        )
        return {name: float(values.std()) or 1.0 for name, (values, _) in nodes.items()}

    def resampling(self, n_resamples, rng):
        """Function of draws to the distances of resamples, the same ones in each call.

        Rows of the environment and draws are both resampled; draws of two
        interventions stay pairs.
        """
        n, m = len(self.X_env), self.n_draws
        rows = rng.randint(n, size=(n_resamples, n))
        draws = rng.randint(m, size=(n_resamples, m))
        return lambda drawn: _distances(
            self.distance, self.X_env, drawn, rows, n + draws
        )

    def noise_floor(self, drawn, n_permutations, level, rng):
        """Quantile of the distance if rows and draws were from one distribution."""
        n = len(self.X_env)
        total = n + len(drawn)
        order = np.stack([rng.permutation(total) for _ in range(n_permutations)])
        rows, draws = np.split(order, [n], axis=1)
        values = _distances(self.distance, self.X_env, drawn, rows, draws)
        return float(np.quantile(values, level, method="weibull"))


def _distances(distance, X, Y, rows, draws):
    """Distance of Z[r] and Z[d] for pairs (r, d) of indices of rows Z of X, then Y."""
    statistic = statistics_of(distance, X, Y)(X, Y)
    n = len(X) + len(Y)
    counts = (
        np.stack([np.bincount(row, minlength=n) for row in index], axis=1)
        for index in (rows, draws)
    )
    return statistic(*counts)


class Candidate:
    """A family at a node; points are its parameters scaled to the unit cube.

    Parameters
    ----------
    comparison : Comparison
    node : str
    family : InterventionFamily
        In the units of the node.

    Attributes
    ----------
    may_gain : bool
        Whether a better value may lie beyond an end; not if a search went on in vain.
    """

    def __init__(self, comparison, node, family):
        self.comparison, self.node, self.family = comparison, node, family
        self._distances, self.may_gain = {}, True
        self._take_range()
        self._tolerance = PRECISION * self.width

    def _take_range(self):
        low, high = np.array(list(self.family.bounds.values())).T
        self.low, self.width = low, high - low

    def params(self, point):
        """Parameters by name."""
        values = self.low + np.clip(point, 0, 1) * self.width
        return dict(zip(self.family.bounds, values.tolist(), strict=True))

    def intervention(self, point):
        """Intervention as `intervene` takes it."""
        return {self.node: self.family(**self.params(point))}

    def rows(self, point):
        """Draws of the model under the intervention."""
        return self.comparison.rows(self.intervention(point))

    def distance_at(self, point):
        """Distance to the environment; evaluations are kept."""
        key = tuple(np.ravel(point).tolist())
        if key not in self._distances:
            change = self.intervention(np.array(key))
            self._distances[key] = self.comparison.distance_to(change)
        return self._distances[key]

    @property
    def best(self):
        """Best point so far."""
        return np.array(min(self._distances, key=self._distances.get))

    @property
    def distance(self):
        """Distance at the best point so far."""
        return self.distance_at(self.best)

    @property
    def at_end(self):
        """Ranges of the parameters whose best value lies at an end of theirs."""
        ends = {}
        for (name, bounds), place in zip(
            self.family.bounds.items(), self.best, strict=True
        ):
            if min(place, 1 - place) <= PRECISION:
                ends[name] = bounds
        return ends

    def search(self):
        """Minimise the distance, and go on beyond open ends while that helps."""
        self._search_range()
        for _ in range(MOST_MOVES):
            before = self.distance
            if not self._widened():
                return
            self._search_range()
            self.may_gain = before - self.distance > WORTHWHILE * abs(before)
            if not self.may_gain:
                return

    def _widened(self):
        """Move the open ends where best values lie; whether any was."""
        bounds = dict(self.family.bounds)
        for (name, (low, high)), place in zip(bounds.items(), self.best, strict=True):
            if name in self.at_end and name in self.family.open_ended:
                width, at_low = WIDTHS * (high - low), place < 0.5
                if at_low and low != 0:
                    bounds[name] = low - width, high
                elif not at_low and high != 0:
                    bounds[name] = low, high + width
        if bounds == self.family.bounds:
            return False
        low, width = self.low, self.width
        self.family = replace(self.family, bounds=bounds)
        self._take_range()
        self._distances = {
            tuple((low + point * width - self.low) / self.width): distance
            for point, distance in self._distances.items()
        }
        return True

    def _search_range(self):
        """On a coarse design first, then locally."""
        p = len(self.low)
        for point in [*self._neutral_points(), *latin_design(GRID * p, p)]:
            self.distance_at(point)
        if p == 1:
            self._search_line()
        else:
            self._search_box()

    def _search_line(self):
        known = np.sort(np.ravel(list(self._distances)))
        k = int(np.searchsorted(known, self.best[0]))
        minimize_scalar(
            self.distance_at,
            bounds=(known[max(k - 1, 0)], known[min(k + 1, len(known) - 1)]),
            method="bounded",
            options={"xatol": (self._tolerance / self.width).item()},
        )

    def _search_box(self):
        start = self.best
        step = np.where(start < 0.5, 0.1, -0.1)
        minimize(
            self.distance_at,
            start,
            method="Nelder-Mead",
            bounds=[(0, 1)] * len(start),
            options={
                "initial_simplex": np.vstack([start, start + np.diag(step)]),
                "xatol": (self._tolerance / self.width).min(),
                "fatol": np.inf,
                "maxfev": 60 * len(start),
            },
        )

    def _neutral_points(self):
        if self.family.neutral is None:
            return []
        point = (np.array(list(self.family.neutral.values())) - self.low) / self.width
        return [point] if np.all((point >= 0) & (point <= 1)) else []


def ends_that_matter(candidates, leaves_some):
    """Candidates, best first, at an end beyond which a better answer may lie."""
    return [
        candidate
        for k, candidate in enumerate(candidates)
        if candidate.at_end
        and candidate.distance < candidate.comparison.identity
        and (k == 0 or (leaves_some and candidate.may_gain))
    ]


def warn_of_ends(candidates):
    """Say which parameters lie at an end of their range, a warning for each."""
    for candidate in candidates:
        for name, (low, high) in candidate.at_end.items():
            value = candidate.params(candidate.best)[name]
            warnings.warn(
                f"The best {name} of {candidate.family.name!r} at {candidate.node!r}, "
                f"{value:.4g}, lies at the end of the range that was searched, "
                f"{low:.4g} to {high:.4g}: a better one may lie beyond. Give as family "
                "an InterventionFamily with wider bounds.",
                SearchLimitWarning,
                stacklevel=3,
            )


def latin_design(n, p):
    """Points (n, p) of the unit cube; in each coordinate the same n even steps."""
    rng = check_random_state(0)
    return np.stack([rng.permutation(n) for _ in range(p)], axis=1) / (n - 1)


def candidates_for(comparison, families, nodes):
    """Candidates of every family (None: of all ready ones) at every node it fits."""
    shapes, kinds = comparison.nodes, last_step(comparison.est).graph_.kinds
    if families is None:
        ready = [f.name for k in shapes for f in families_for(shapes[k], kinds[k])]
        families = list(dict.fromkeys(ready))
    elif isinstance(families, str) or not isinstance(families, (list, tuple)):
        families = [families]
    names = _node_names(nodes, shapes)
    if nodes is None and comparison.est.space_.levels:
        # What is shifted or scaled are numbers, and all columns are in the last node.
        levels = last_step(comparison.est).categories_
        names = [name for name in names[:-1] if name not in levels]
    found, refusals = [], []
    for name in names:
        for family in (as_family(f, shapes[name]) for f in families):
            try:
                family.check(name, shapes[name], kinds[name])
            except ValueError as refusal:
                refusals.append(str(refusal))
                continue
            family = family.in_units(comparison.node_sds[name])
            found.append(Candidate(comparison, name, family))
    if not found:
        reason = refusals[0] if refusals else "there are no families."
        raise ValueError(f"No family fits any of the nodes {names}: {reason}")
    return found


def _node_names(nodes, shapes):
    if nodes is None:
        return list(shapes)
    names = [nodes] if isinstance(nodes, str) else nodes
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(
            "Nodes must be None, a name or a non-empty list of names of "
            f"{list(shapes)}, got {nodes!r}."
        )
    check_interventions(dict.fromkeys(names, abs), shapes)
    return list(dict.fromkeys(names))
