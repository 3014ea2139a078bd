"""Precision, recall, density and coverage: who lies within whose neighbourhood."""

import numpy as np
from sklearn.utils import Bunch

from .._inputs import check_integer, check_samples
from .blocks import Blocks, rows_at_once

__all__ = ["precision_recall_density_coverage"]

# Relative difference of squared distances that float64 makes of equal ones.
TIE = 1e-12


def precision_recall_density_coverage(X_real, X_gen, *, n_neighbors=5, units=None):
    """Precision, recall, density and coverage of generated rows.

    Around every row lies the ball that reaches to its `n_neighbors`-th neighbour in its
    own sample.

    Parameters
    ----------
    X_real, X_gen, units
        As :func:`energy_distance` takes them.
    n_neighbors : int
        Which neighbour, the row itself not counted; smaller than both samples.

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
    n_neighbors = check_integer("n_neighbors", n_neighbors)
    X_real, X_gen = check_samples(
        X_real,
        X_gen,
        smallest=n_neighbors + 1,
        needed_by=f"n_neighbors={n_neighbors}",
        advice=", or fewer neighbours",
        units=units,
    )
    blocks = Blocks(X_real, X_gen)
    real, gen = (_Balls(blocks, sample, n_neighbors) for sample in blocks.samples)
    gen_is_inside = np.zeros(len(X_gen), bool)
    real_is_inside, real_ball_is_hit = np.zeros((2, len(X_real)), bool)
    n_hits = 0.0
    for rows, columns, block in blocks.between(*blocks.samples, repair=False):
        balls, inside = real.hits(block, rows, gen.rows, columns, axis=0)
        gen_is_inside[inside] = real_ball_is_hit[balls] = True
        n_hits += real.weights[balls].sum()
        _, inside = gen.hits(block, columns, real.rows, rows, axis=1)
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

    Squared distances in a block are off by at most ``unsure (|x|^2 + |y|^2)``. Where
    ``|x - y| <= r`` that is below ``unsure (3 |x|^2 + 2 r^2)``, which needs no y.
    """

    def __init__(self, blocks, rows, k):
        self.blocks, self.rows, self.k = blocks, rows, k
        # Twice the classical bound of a product of n_features + 2 terms.
        self.unsure = 2 * (blocks.n_features + 8) * float(np.finfo(blocks.dtype).eps)
        n = len(rows)
        self.squared_radii, self.weights = np.empty((2, n))
        shape = (min(rows_at_once(120 * n + 32 * blocks.n_features), 256), n)
        for part, _, block in blocks.between(rows, rows, shape=shape, repair=False):
            kth, n_inside = self._kth_smallest(block, part)
            self.squared_radii[part] = kth * (1 + TIE)
            self.weights[part] = k / n_inside
        reach = self._reach(rows.norms, self.squared_radii)
        self.surely, self.possibly = (
            (self.squared_radii + side * reach).astype(blocks.dtype) for side in (-1, 1)
        )

    def _reach(self, norms, squared):
        return self.unsure * (3 * norms + 2 * squared) + 1e-30

    def _kth_smallest(self, block, part):
        """Exact squared distance to the k-th neighbour, and how many are no further."""
        own = np.arange(part.start, part.stop)
        block[np.arange(len(own)), own] = np.inf
        rough = np.partition(block, self.k - 1, axis=1)[:, self.k - 1].astype(float)
        reach = 2 * self._reach(self.rows.norms[part], np.maximum(rough, 0))
        pairs = np.flatnonzero(block <= (rough + reach).astype(block.dtype)[:, None])
        i, j = np.divmod(pairs, block.shape[1])
        # Those surely nearer need no second look, only to be counted.
        surely = block.reshape(-1)[pairs] < (rough - reach)[i]
        n_surely = np.bincount(i[surely], minlength=len(own))
        i, j = i[~surely], j[~surely]
        exact = self.blocks.exactly(self.rows, own[i], self.rows, j)
        first = np.searchsorted(i, np.arange(len(own)))
        kth = exact[np.lexsort((exact, i))[first + self.k - 1 - n_surely]]
        n_tied = np.bincount(i[exact <= kth[i] * (1 + TIE)], minlength=len(own))
        return kth, n_surely + n_tied

    def hits(self, block, balls, others, places, axis):
        """Pairs (ball, other row) of a block with the other row inside the ball.

        The balls lie along `axis` of the block, the other rows along the other one.
        """
        possibly = self.possibly[balls]
        pairs = np.flatnonzero(block <= (possibly if axis else possibly[:, None]))
        index = np.divmod(pairs, block.shape[1])
        ball, other = balls.start + index[axis], places.start + index[1 - axis]
        unsure = np.flatnonzero(block.reshape(-1)[pairs] >= self.surely[ball])
        exact = self.blocks.exactly(self.rows, ball[unsure], others, other[unsure])
        inside = np.ones(len(ball), bool)
        inside[unsure] = exact <= self.squared_radii[ball[unsure]]
        return ball[inside], other[inside]
