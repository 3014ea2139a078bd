"""Precision, recall, density and coverage: who lies within whose neighbourhood."""

import numpy as np
from sklearn.utils import Bunch

from ._inputs import check_integer, check_max_memory, check_samples
from ._tiles import Tiler, prepare, row_blocks

__all__ = ["precision_recall_density_coverage"]

# Relative difference of squared distances that float64 makes of equal ones.
TIE = 1e-12


def precision_recall_density_coverage(
    X_real, X_gen, *, n_neighbors=5, max_memory=64.0, units=None, random_state=None
):
    """Precision, recall, density and coverage of generated rows.

    Around every row lies the ball that reaches to its `n_neighbors`-th neighbour in its
    own sample.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
    n_neighbors : int
        Which neighbour, the row itself not counted; smaller than both samples.
    max_memory : float
        Bound of the buffers, in MiB, beside a float32 copy of both samples. At least
        one row of distances is held, 20 bytes per row of the larger sample.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.
    random_state : ignored
        Here for the common signature of the distances: this one is deterministic.

    Returns
    -------
    sklearn.utils.Bunch of float
        ``precision``: part of the generated rows inside a ball of a real row;
        ``recall``: part of the real rows inside a ball of a generated row;
        ``density``: real balls that a generated row lies in, on average, over
        `n_neighbors`, or over the neighbours inside where ties are more (1 on average
        for equal distributions, and it may exceed 1);
        ``coverage``: part of the real balls with a generated row inside.

    Raises
    ------
    ValueError
        If the samples have different columns, no more rows than `n_neighbors`, or
        values that are not finite, or if a parameter is out of range.

    Notes
    -----
    A row at exactly the radius is inside, which the definitions leave outside: without
    ties the values are the published ones, and with them, as between columns of levels
    or counts, equal distributions score as equal (radii are then often 0). Distances
    are computed in float32 and those that rounding could put on the other side of a
    radius again in float64, so that the counts are those of float64.

    References
    ----------
    Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019), *Improved precision and recall
    metric for assessing generative models* (arXiv:1904.06991).
    Naeem, Oh, Uh, Choi, Yoo (2020), *Reliable fidelity and diversity metrics for
    generative models* (arXiv:2002.09797).

    Examples
    --------
    >>> real = [[0.0], [1.0], [2.5], [4.5]]
    >>> precision_recall_density_coverage(real, [[0.5], [9.0]], n_neighbors=1)
    {'precision': 0.5, 'recall': 1.0, 'density': 1.0, 'coverage': 0.5}
    """
    n_bytes = check_max_memory(max_memory)
    n_neighbors = check_integer("n_neighbors", n_neighbors)
    X_real, X_gen = check_samples(
        X_real,
        X_gen,
        smallest=n_neighbors + 1,
        needed_by=f"n_neighbors={n_neighbors}",
        advice=", or fewer neighbours",
        units=units,
    )
    samples = prepare(X_real, X_gen)
    real = _Balls(samples, samples.real, n_neighbors, n_bytes)
    gen = _Balls(samples, samples.gen, n_neighbors, n_bytes)
    gen_is_inside = np.zeros(len(X_gen), bool)
    real_is_inside = np.zeros(len(X_real), bool)
    real_ball_is_hit = np.zeros(len(X_real), bool)
    n_hits = 0.0
    tiler = Tiler(samples, n_bytes, repair=False)
    for rows, columns, tile in tiler.between(samples.real, samples.gen):
        starts = rows.start, columns.start
        balls, inside = real.hits(tiler, tile, samples.gen, starts, axis=0)
        gen_is_inside[inside] = real_ball_is_hit[balls] = True
        n_hits += real.weights[balls].sum()
        _, inside = gen.hits(tiler, tile, samples.real, starts, axis=1)
        real_is_inside[inside] = True
    return Bunch(
        precision=float(gen_is_inside.mean()),
        recall=float(real_is_inside.mean()),
        density=float(n_hits) / len(X_gen) * (1 / n_neighbors),
        coverage=float(real_ball_is_hit.mean()),
    )


class _Balls:
    """Squared radii to the k-th neighbour, and the reach of rounding around them.

    Balls are closed; their `weights` are k over the number of neighbours inside, 1
    without ties.

    Squared distances in a tile are off by at most ``unsure (|x|^2 + |y|^2)``. Where
    ``|x - y| <= r`` that is below ``unsure (3 |x|^2 + 2 r^2)``, which needs no y.
    """

    def __init__(self, samples, sample, k, n_bytes):
        self.sample, self.k = sample, k
        rounding = np.finfo(np.float64 if samples.in_float64 else np.float32).eps
        # Twice the classical bound of a product of n_features + 2 terms.
        self.unsure = 2 * (sample.n_features + 8) * float(rounding)
        self.squared_radii, self.weights = np.empty((2, len(sample)))
        length = len(sample)
        at_once = int(0.5 * n_bytes / (20 * length + 16 * sample.n_features))
        shape = (min(max(at_once, 1), 256), length)
        tiler = Tiler(samples, n_bytes, shape=shape, repair=False)
        for rows, _, tile in tiler.between(sample, sample):
            radii, n_inside = self._kth_smallest(tiler, tile, rows)
            self.squared_radii[rows] = radii * (1 + TIE)
            self.weights[rows] = k / n_inside
        reach = self._reach(sample.norms, self.squared_radii)
        self.surely = self._bounds(self.squared_radii - reach, samples)
        self.possibly = self._bounds(self.squared_radii + reach, samples)

    def _reach(self, norms, squared):
        return self.unsure * (3 * norms + 2 * squared) + 1e-30

    @staticmethod
    def _bounds(values, samples):
        return values.astype(np.float64 if samples.in_float64 else np.float32)

    def _kth_smallest(self, tiler, tile, rows):
        """Exact squared distance to the k-th neighbour, and how many are no further."""
        k, sample = self.k, self.sample
        own = np.arange(rows.start, rows.stop)
        tile[np.arange(len(tile)), own] = np.inf
        rough = np.partition(tile, k - 1, axis=1)[:, k - 1].astype(np.float64)
        reach = 2 * self._reach(sample.norms[rows], np.maximum(rough, 0))
        possible = tile <= (rough + reach).astype(tile.dtype)[:, None]
        pairs = np.flatnonzero(possible)
        if len(pairs) > max(2 * k * len(tile), tile.size // 16):
            return np.array([self._kth_of_row(i, tiler) for i in own]).T
        i, j = np.divmod(pairs, tile.shape[1])
        # Those surely nearer need no second look, only to be counted.
        surely = tile.reshape(-1)[pairs] < (rough - reach)[i]
        n_surely = np.bincount(i[surely], minlength=len(tile))
        i, j = i[~surely], j[~surely]
        exact = tiler.exactly(sample, own[i], sample, j)
        order = np.lexsort((exact, i))
        first = np.searchsorted(i, np.arange(len(tile)))
        kth = exact[order[first + k - 1 - n_surely]]
        n_tied = np.bincount(i[exact <= kth[i] * (1 + TIE)], minlength=len(tile))
        return kth, n_surely + n_tied

    def _kth_of_row(self, i, tiler):
        """The same for one row, in float64 throughout."""
        sample, squared = self.sample, np.empty(len(self.sample))
        for part in row_blocks(0, len(sample), tiler.pairs_at_once):
            difference = sample.rows(part) - sample.rows(i)
            squared[part] = np.einsum("ij,ij->i", difference, difference)
        squared[i] = np.inf
        kth = np.partition(squared, self.k - 1)[self.k - 1]
        return kth, np.count_nonzero(squared <= kth * (1 + TIE))

    def hits(self, tiler, tile, others, starts, axis):
        """Pairs (ball, other) of a tile with the other row inside the ball.

        The balls lie along `axis` of the tile, the rows of the other sample along the
        other one; `starts` are the places of the first ones.
        """
        first = starts[axis]
        possibly = self.possibly[first : first + tile.shape[axis]]
        mask = tile <= (possibly[:, None] if axis == 0 else possibly)
        places = np.flatnonzero(mask)
        index = np.divmod(places, tile.shape[1])
        ball, other = index[axis] + first, index[1 - axis] + starts[1 - axis]
        unsure = np.flatnonzero(tile.reshape(-1)[places] >= self.surely[ball])
        exact = tiler.exactly(self.sample, ball[unsure], others, other[unsure])
        inside = np.ones(len(ball), bool)
        inside[unsure] = exact <= self.squared_radii[ball[unsure]]
        return ball[inside], other[inside]
