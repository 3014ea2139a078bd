"""Squared distances between rows, one block after another, in bounded memory.

A block is one float32 matrix product: with rows ``[-2x, |x|^2, 1]`` on the left and
``[y, 1, |y|^2]`` on the right it holds ``|x - y|^2``. That is the sum of large numbers
of both signs, so the rows are centred and scaled in float64 first, and pairs whose
distance is small beside their norms are computed again in float64, by differences.
(On 2,000 by 2,000 rows float64 throughout takes 1.8 times as long, and `torch.cdist`
1.5 times.)
"""

import numpy as np
from scipy.spatial.distance import cdist

__all__ = [
    "Blocks",
    "Rows",
    "common_frame",
    "is_small",
    "row_blocks",
    "rows_at_once",
    "sum_over_pairs",
]

# Bound of the buffers of a distance, beside float32 copies of both samples.
MAX_BYTES = 2**26

# Large enough that the calls of numpy do not matter, small enough for the caches.
BLOCK_ROWS, BLOCK_COLUMNS = 256, 1024
# Pairs times features up to which float64 takes no more than a few milliseconds.
SMALL = 2**22
# Below this part of |x|^2 + |y|^2 a squared distance lost 10 of its 24 bits.
NEAR = 2.0**-10
# Squares below this one may have lost bits to underflow.
TINY = 1e-30
# Rows that the centre is taken from.
CENTRE_ROWS = 512
# Numbers that a conversion from float64 holds at a time.
AT_ONCE = 2**14


def rows_at_once(n_bytes):
    """How many rows of so many bytes a buffer holds."""
    return max(1, int(MAX_BYTES / n_bytes))


def row_blocks(start, stop, size):
    """Slices of at most `size` that cover ``range(start, stop)``."""
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def is_small(samples):
    """Whether samples can be compared in float64 within milliseconds."""
    return sum(map(len, samples)) ** 2 * samples[0].shape[1] <= SMALL


def common_frame(samples):
    """Centre of samples, scaled, and the scale, which lets no square overflow.

    The centre is a median, so that a few far rows do not blur the others; the scale a
    power of 2, which leaves all digits as they are.
    """
    largest = max(max(X.max(), -X.min()) for X in samples)
    scale = float(np.ldexp(1.0, -np.clip(np.frexp(largest)[1] + 1, -1000, 1000)))
    step = max(1, sum(map(len, samples)) // CENTRE_ROWS)
    some = np.concatenate([X[::step] for X in samples])
    return np.median(np.multiply(some, scale, dtype=np.float64), axis=0), scale


class Rows:
    """Rows of one sample in a frame that several share.

    `augmented` is the float32 copy ``[x, 1, |x|^2]`` of the centred rows, or None if
    distances are computed in float64 throughout.
    """

    def __init__(self, X, centre, scale, in_float64=False):
        self.X, self.centre, self.scale = X, centre, scale
        n, d = X.shape
        self.norms = np.empty(n)
        self.augmented = None if in_float64 else np.empty((n, d + 2), np.float32)
        # Blocks that stay in the cache from step to step.
        for rows in row_blocks(0, n, max(1, AT_ONCE // d)):
            block = self.centred(rows)
            np.einsum("ij,ij->i", block, block, out=self.norms[rows])
            if not in_float64:
                self.augmented[rows, :d] = block
        if not in_float64:
            self.augmented[:, d] = 1
            self.augmented[:, d + 1] = self.norms

    def __len__(self):
        return len(self.X)

    def scaled(self, index):
        """Rows in float64, not centred: only differences are taken of them."""
        return np.multiply(self.X[index], self.scale, dtype=np.float64)

    def centred(self, index):
        """Centred rows in float64."""
        return self.scaled(index) - self.centre


class Blocks:
    """Blocks of ``|x - y|^2`` over the rows of samples in their common frame.

    Parameters
    ----------
    *samples : ndarray of shape (n_rows, n_features)
    in_float64 : bool
        Whether distances are computed in float64 whatever their number.

    Attributes
    ----------
    samples : list of Rows
    unit : float
        Of the distances.
    """

    def __init__(self, *samples, in_float64=False):
        self.in_float64 = in_float64 or is_small(samples)
        self.dtype = np.float64 if self.in_float64 else np.float32
        centre, scale = common_frame(samples)
        self.samples = [Rows(X, centre, scale, self.in_float64) for X in samples]
        self.unit = 1 / scale
        self.n_features = samples[0].shape[1]

    def between(self, A, B, *, shape=None, repair=True):
        """Blocks of pairs of a row of A and a row of B; of i <= j if A is B.

        Parameters
        ----------
        A, B : Rows
        shape : (int, int), optional
            Rows and columns of a block, all pairs then; None fits them to the bound.
        repair : bool
            Whether pairs that are close for their norms are computed in float64.

        Yields
        ------
        rows, columns : slice
            Equal (a square on the diagonal, which holds every pair twice) or disjoint
            if A is B.
        block : array of shape (len(rows), len(columns))
            In a buffer that the next one overwrites.
        """
        triangle = A is B and shape is None
        n_rows, n_columns = shape or self._fit(max(len(A), len(B)))
        buffer = np.empty(n_rows * max(n_rows, n_columns), self.dtype)
        for rows in row_blocks(0, len(A), n_rows):
            left = None if self.in_float64 else self._left(A, rows)
            columns = row_blocks(rows.stop if triangle else 0, len(B), n_columns)
            for part in [rows, *columns] if triangle else columns:
                size = (rows.stop - rows.start), (part.stop - part.start)
                block = buffer[: size[0] * size[1]].reshape(size)
                if self.in_float64:
                    block[...] = cdist(A.scaled(rows), B.scaled(part), "sqeuclidean")
                else:
                    np.matmul(left, B.augmented[part].T, out=block)
                    if repair:
                        self._repair(block, A, rows, B, part)
                yield rows, part, block

    def _fit(self, longest):
        """Rows and columns of a block whose buffers stay below the bound."""
        rows, columns = min(BLOCK_ROWS, longest), min(BLOCK_COLUMNS, longest)
        # The block and its scratch copies in float64; the rows of both sides.
        while rows > 1 and (
            40 * rows * max(rows, columns) + 16 * self.n_features * (rows + columns)
            > 0.75 * MAX_BYTES
        ):
            rows, columns = rows // 2, max(columns // 2, 1)
        return rows, columns

    def _left(self, A, rows):
        d, right = self.n_features, A.augmented[rows]
        left = np.empty_like(right)
        np.multiply(right[:, :d], np.float32(-2), out=left[:, :d])
        left[:, d], left[:, d + 1] = right[:, d + 1], 1
        return left

    def _repair(self, block, A, rows, B, columns):
        """Compute pairs again that are close for their norms, in float64."""
        on_diagonal = A is B and rows == columns
        if on_diagonal:
            np.fill_diagonal(block, np.inf)
        norms_a, norms_b = A.norms[rows], B.norms[columns]
        if block.min() < NEAR * (norms_a.max() + norms_b.max()) + TINY:
            bounds = np.add.outer(NEAR * norms_a + TINY, NEAR * norms_b)
            i, j = np.nonzero(block < bounds)
            if len(i) > block.size // 16:
                block[...] = cdist(A.scaled(rows), B.scaled(columns), "sqeuclidean")
            else:
                block[i, j] = self.exactly(A, rows.start + i, B, columns.start + j)
        if on_diagonal:
            np.fill_diagonal(block, 0)

    def exactly(self, A, i, B, j):
        """Squared distances of the pairs (A[i], B[j]) in float64, by differences."""
        squared = np.empty(len(i))
        at_once = rows_at_once(160 * self.n_features)
        for part in row_blocks(0, len(i), at_once):
            difference = A.scaled(i[part]) - B.scaled(j[part])
            squared[part] = np.einsum("ij,ij->i", difference, difference)
        return squared


def sum_over_pairs(blocks, transform, at_zero=0.0):
    """Sums of a function of the squared distance, over the ordered pairs of rows.

    Parameters
    ----------
    blocks : Blocks
        Of two samples.
    transform : callable
        Takes a block of ``|x - y|^2``, may overwrite and must return it.
    at_zero : float
        Value of the function at distance 0.

    Returns
    -------
    across, within_real, within_gen : float
        `across` is over all pairs of the two samples, `within` over pairs of two
        different rows.
    """
    real, gen = blocks.samples

    def within(sample):
        total = -len(sample) * at_zero
        for rows, columns, block in blocks.between(sample, sample):
            total += (1 if rows == columns else 2) * _total(transform(block))
        return total

    within_real = within(real)
    if np.array_equal(real.X, gen.X):
        # Rounded alike, so that a sample is at distance 0 of itself.
        return within_real + len(real) * at_zero, within_real, within_real
    across = sum(_total(transform(b)) for _, _, b in blocks.between(real, gen))
    return across, within_real, within(gen)


def _total(block):
    """Sum in float64 of short sums in the block's own type.

    A product with ones takes a third of the time of a float64 sum; 32 at a time lose
    four times less to rounding than whole rows do.
    """
    values = block.reshape(-1)
    whole = values.size // 32 * 32
    short_sums = values[:whole].reshape(-1, 32) @ np.ones(32, block.dtype)
    rest = values[whole:].sum(dtype=np.float64)
    return float(short_sums.sum(dtype=np.float64) + rest)
