"""Optimal transport between samples, beyond what chance costs: numpy in, float out."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from .._inputs import check_samples, direction_stream

__all__ = ["LEAST_ROWS", "MOST_ROWS", "TransportTo", "transport_distance"]

LEAST_ROWS = 4
# Rows of a sample that one pair of exact assignments looks at.
MOST_ROWS = 500
# Small samples are halved in several ways; of large ones several parts are taken.
MOST_SPLITS = 8
# Ways to halve one sample, which say how far chance alone reaches.
N_NULL = 5


def transport_distance(X_real, X_gen, *, units=None, random_state=None):
    r"""Squared optimal-transport distance of a prediction, beyond what chance costs.

    From two samples it estimates what the squared error of predictions would be if it
    were known which row belongs to which: the mean over true pairs is the cost of one
    coupling, which that of the cheapest bounds from below.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
        Predicted rows; at least four of each.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.
    random_state : int, RandomState or None
        Of the halves. None is a fixed stream, so that the value is reproducible.

    Returns
    -------
    float
        In squared units of the features, summed over them. About 0 for two samples of
        one law (it may be negative), and about the total variance of `X_real` if all
        predicted rows are its mean.

    Raises
    ------
    ValueError
        If the samples have different columns, fewer than four rows, or values that are
        not finite.

    Notes
    -----
    With :math:`P` the predicted rows, :math:`Q` the real ones, each in random halves,
    and :math:`W` the mean squared distance of rows under the cheapest one-to-one
    assignment, it is

    .. math:: [W(P_1, Q_1) + W(P_2, Q_2) - W(P_1, P_2) - W(Q_1, Q_2)] / 2.

    Rows of many entries are far from all others: there :math:`W` of finite samples is
    mostly chance, which a sample has with itself too. What it does not see: noise in
    such predictions, which costs :math:`W(P_1, P_2)` twice what it costs
    :math:`W(P, Q)`; and which row became which, so that predictions with the mean and
    the covariance of the real rows, but wrong pairs, come out better than they are.
    Where X_real holds the counterfactuals of the very rows that were predicted, it is
    below 0 for good predictions.

    Of more than 500 rows several parts are averaged, smaller samples are halved in
    several ways; equally many rows of both are used. The order of the rows does not
    matter.

    References
    ----------
    Villani (2009), *Optimal transport: old and new*; Genevay, Peyré, Cuturi (2018),
    *Learning generative models with Sinkhorn divergences* (arXiv:1706.00292), for the
    correction by what each sample costs with itself.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.RandomState(0).randn(3, 200, 2)
    >>> round(transport_distance(X[0], X[1] + 2), 1)
    7.3
    """
    return TransportTo(X_real, units=units, random_state=random_state)(X_gen)


class TransportTo:
    """Transport distance of other samples to one, whose own part is computed once."""

    def __init__(self, X_real, *, units=None, random_state=None):
        self.X_real, self.units, self.random_state = X_real, units, random_state
        self._own = {}

    def __call__(self, X_gen):
        return float(np.mean(self.values(X_gen)))

    def values(self, X_gen):
        """Distance by each way of halving the samples, shape (n_splits,)."""
        samples = check_samples(
            self.X_real,
            X_gen,
            smallest=LEAST_ROWS,
            needed_by="The transport distance",
            units=self.units,
        )
        least = min(map(len, samples))
        n_half = min(least, MOST_ROWS) // 2
        n_splits = min(MOST_SPLITS, max(MOST_ROWS, least) // (2 * n_half))
        real, gen = (
            list(_halves(X, n_half, n_splits, direction_stream(self.random_state)))
            for X in samples
        )
        if n_half not in self._own:
            self._own[n_half] = np.array([_transport(*halves) for halves in real])
        within = np.array([_transport(*halves) for halves in gen])
        across = [
            (_transport(p1, q1) + _transport(p2, q2)) / 2
            for (p1, p2), (q1, q2) in zip(gen, real, strict=True)
        ]
        return np.array(across) - (within + self._own[n_half]) / 2

    def chance(self):
        """About the standard deviation of a distance if there is nothing to find."""
        if len(self.X_real) < 2 * LEAST_ROWS:
            return 0.0
        stream = direction_stream(self.random_state)
        orders = [stream.permutation(len(self.X_real)) for _ in range(N_NULL)]
        halves = [np.array_split(self.X_real[order], 2) for order in orders]
        return float(np.std([TransportTo(first)(second) for first, second in halves]))


def _transport(first, second):
    """Mean squared distance of rows under the cheapest one-to-one assignment."""
    cost = cdist(first, second, "sqeuclidean")
    if not np.isfinite(cost).all():
        raise ValueError(
            "The transport distance squares values that are too large for it. Give "
            "units= that bring them near 1."
        )
    return float(cost[linear_sum_assignment(cost)].mean())


def _halves(X, n_half, n_splits, stream):
    """Pairs of disjoint halves of the rows, in an order that only values determine."""
    order = np.argsort(X @ stream.standard_normal(X.shape[1]), kind="stable")
    for _ in range(n_splits):
        chosen = order[stream.permutation(len(X))[: 2 * n_half]]
        yield X[chosen[:n_half]], X[chosen[n_half:]]
