"""Are the true factors among the latents, up to what no model can know?"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_array, check_consistent_length

__all__ = [
    "Frame",
    "amari_distance",
    "block_mcc_score",
    "check_choice",
    "check_factors",
    "correlations",
    "mean_of_best_matching",
]


def block_mcc_score(Z_true, Z_pred, *, blocks_true, blocks_pred=None):
    r"""Mean correlation of blocks of true factors with their best-matching blocks.

    Parameters
    ----------
    Z_true : array-like of shape (n, n_factors)
    Z_pred : array-like of shape (n, n_latents)
        Latents of the same rows.
    blocks_true : sequence of sequences of int
        The columns of `Z_true` that each block holds, such as ``[[0, 1], [2]]``.
    blocks_pred : sequence of sequences of int or None
        The same for `Z_pred`; None takes `blocks_true`.

    Returns
    -------
    float
        Between 0 and 1. The association of two blocks of ranks :math:`a` and :math:`b`
        is the sum of their canonical correlations over :math:`\max(a, b)`: 1 if and
        only if they are affine images of each other, and :math:`|r|` for two single
        columns. The mean is over the blocks of factors, matched one to one.

    Raises
    ------
    ValueError
        If the rows do not correspond, hold values that are not finite or are no more
        than the columns of two blocks together (canonical correlations are then 1
        whatever the data), or if a block is empty or names an unknown column.

    Notes
    -----
    A block without a partner, and one whose columns are all constant, count 0. The
    canonical correlations of unrelated blocks are small only where the rows are many
    more than the columns.

    References
    ----------
    Hotelling (1936), *Relations between two sets of variates*, Biometrika 28. Blocks as
    what is identifiable: von Kügelgen et al. (2021), *Self-supervised learning with
    data augmentations provably isolates content from style* (arXiv:2106.04619).

    Examples
    --------
    >>> import numpy as np
    >>> Z = np.random.RandomState(0).randn(50, 3)
    >>> mixed = np.column_stack([Z[:, 2], Z[:, 0] + Z[:, 1], Z[:, 0] - Z[:, 1]])
    >>> round(
    ...     block_mcc_score(
    ...         Z, mixed, blocks_true=[[0, 1], [2]], blocks_pred=[[0], [1, 2]]
    ...     ),
    ...     6,
    ... )
    1.0
    """
    Z_true, Z_pred = check_factors(Z_true, Z_pred)
    blocks_true = _check_blocks("blocks_true", blocks_true, Z_true)
    if blocks_pred is None:
        blocks_pred = blocks_true
    blocks_pred = _check_blocks("blocks_pred", blocks_pred, Z_pred)
    widest = max(map(len, blocks_true)) + max(map(len, blocks_pred))
    if len(Z_true) <= widest:
        raise ValueError(
            f"The widest blocks have {widest} columns together, so block_mcc_score "
            f"needs at least {widest + 1} rows, got {len(Z_true)}. Give more rows, or "
            "smaller blocks."
        )
    bases_true = [_orthonormal_basis(Z_true[:, block]) for block in blocks_true]
    bases_pred = [_orthonormal_basis(Z_pred[:, block]) for block in blocks_pred]
    return mean_of_best_matching(
        np.array([[_block_association(a, b) for b in bases_pred] for a in bases_true])
    )


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


def check_choice(name, value, allowed):
    """One of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")


def check_factors(Z_true, Z_pred, names=("Z_true", "Z_pred"), smallest=2):
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
    if len(Z_true) < smallest:
        raise ValueError(
            f"{names[0]} and {names[1]} must have at least {smallest} rows, got "
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


def _check_blocks(name, blocks, Z):
    """Lists of columns, none of them empty."""
    try:
        checked = [np.array([range(Z.shape[1])[i] for i in block]) for block in blocks]
    except (TypeError, IndexError) as error:
        raise ValueError(
            f"{name} must be a sequence of sequences of columns below {Z.shape[1]}, "
            f"such as [[0, 1], [2]], got {blocks!r}."
        ) from error
    if not checked or not all(map(len, checked)):
        raise ValueError(f"{name} must hold blocks that are not empty, got {blocks!r}.")
    return checked


def _orthonormal_basis(Z):
    """Basis of what the columns span beside constants, of shape (n, rank)."""
    left, sizes, _ = np.linalg.svd(Frame(Z)(Z), full_matrices=False)
    return left[:, sizes > sizes[0] * max(Z.shape) * np.finfo(float).eps]


def _block_association(basis_a, basis_b):
    rank = max(basis_a.shape[1], basis_b.shape[1])
    if min(basis_a.shape[1], basis_b.shape[1]) == 0:
        return 0.0
    cosines = np.linalg.svd(basis_a.T @ basis_b, compute_uv=False)
    return np.minimum(cosines, 1).sum() / rank


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
