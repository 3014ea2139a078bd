"""Are the true factors among the latents, up to what no model can know?"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_array, check_consistent_length

__all__ = [
    "Frame",
    "amari_distance",
    "check_factors",
    "correlations",
    "mean_of_best_matching",
]


def amari_distance(A, B):
    r"""Distance of two mixing matrices up to order and unit of their columns.

    Parameters
    ----------
    A, B : array-like of shape (n_features, n_factors)
        True and estimated mixing, of full column rank. Of unmixing matrices give the
        pseudo-inverses.

    Returns
    -------
    float
        With :math:`P = B^+ A`,

        .. math:: \frac{1}{2 n (n - 1)} \left( \sum_i \left( \sum_j
            \frac{|p_{ij}|}{\max_k |p_{ik}|} - 1 \right) + \sum_j \left( \sum_i
            \frac{|p_{ij}|}{\max_k |p_{kj}|} - 1 \right) \right).

        It is 0 if and only if P is a permutation with other units, 1 (the worst) if
        and only if all its entries are of equal size, and 0 for a single column.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or a matrix is not of full column
        rank (also numerically, whatever the units of its columns).

    Notes
    -----
    Order, signs and a common unit of the columns change nothing. The units of single
    columns do, unless the distance is 0, and rounding grows with their ratio: scale
    them to factors of unit variance before distances are compared.

    References
    ----------
    Amari, Cichocki, Yang (1996), *A new learning algorithm for blind signal
    separation*, Advances in Neural Information Processing Systems 8.

    Examples
    --------
    >>> amari_distance([[1, 0], [0, 1]], [[0, -3], [2, 0]])
    0.0
    >>> round(amari_distance([[1, 0], [0, 1]], [[1, 1], [1, -1]]), 6)
    1.0
    """
    (A, unit_a), (B, unit_b) = _check_mixing("A", A), _check_mixing("B", B)
    if A.shape != B.shape:
        raise ValueError(
            f"A and B must have the same shape, got {A.shape} and {B.shape}."
        )
    n = A.shape[1]
    if n == 1:
        return 0.0
    with np.errstate(divide="ignore"):
        # Logarithms, so that columns of whatever units leave the range of no float.
        sizes = np.log(np.abs(np.linalg.lstsq(B, A, rcond=None)[0]))
    sizes += np.log(unit_a) - np.log(unit_b)[:, None]
    excess = sum(
        np.exp(sizes - sizes.max(axis=axis, keepdims=True)).sum() - n for axis in (0, 1)
    )
    return float(np.clip(excess / (2 * n * (n - 1)), 0, 1))


def check_factors(Z_true, Z_pred, names=("Z_true", "Z_pred")):
    """Two finite float64 arrays of columns, of the same rows."""
    try:
        Z_true, Z_pred = (
            check_array(Z, dtype=np.float64, ensure_2d=False, input_name=name)
            for Z, name in zip((Z_true, Z_pred), names, strict=True)
        )
    except (TypeError, ValueError) as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            f"{names[0]} and {names[1]} must hold numbers here ({error}). Factors that "
            "are levels are for mcc_score, alignment_r2, mig_score and dci_scores."
        ) from error
    check_consistent_length(Z_true, Z_pred)
    if len(Z_true) < 2:
        raise ValueError(
            f"{names[0]} and {names[1]} must have at least 2 rows, got "
            f"{len(Z_true)}: fewer say nothing about association. Give more rows."
        )
    return Z_true.reshape(len(Z_true), -1), Z_pred.reshape(len(Z_pred), -1)


class Frame:
    """Affine map of each column that gives a sample mean 0 and variance 1.

    It neither over- nor underflows for that sample, and takes other rows too. Constant
    columns become exactly 0.
    """

    def __init__(self, Z):
        largest = np.abs(Z).max(axis=0)
        self.unit = np.where(largest > 0, largest, 1.0)
        scaled = Z / self.unit
        self.low = scaled.min(axis=0)
        spread = scaled.max(axis=0) - self.low
        self.spread = np.where(spread > 0, spread, 1.0)
        within = (scaled - self.low) / self.spread
        self.is_constant = spread == 0
        self.mean = within.mean(axis=0)
        self.sd = np.where(self.is_constant, 1.0, within.std(axis=0))

    def __call__(self, Z):
        """Rows in the frame; infinite where they are out of all proportion to it."""
        with np.errstate(over="ignore"):
            return ((Z / self.unit - self.low) / self.spread - self.mean) / self.sd


def correlations(A, B):
    """Pearson correlations of the columns of A with those of B; 0 for constants."""
    return np.clip(Frame(A)(A).T @ Frame(B)(B) / len(A), -1, 1)


def mean_of_best_matching(association):
    """Mean over rows of the largest one-to-one matching with columns, at most 1."""
    matched = association[linear_sum_assignment(association, maximize=True)]
    return float(matched.sum() / len(association))


def _check_mixing(name, matrix):
    """A matrix of full column rank with columns of size 1, and their sizes before."""
    matrix = check_array(matrix, dtype=np.float64, input_name=name)
    units = np.abs(matrix).max(axis=0)
    scaled = matrix / np.where(units > 0, units, 1.0)
    if np.linalg.matrix_rank(scaled) < matrix.shape[1]:
        raise ValueError(
            f"{name} must have full column rank, got rank "
            f"{np.linalg.matrix_rank(scaled)} with {matrix.shape[1]} columns: drop "
            "columns that the others already span."
        )
    return scaled, units
