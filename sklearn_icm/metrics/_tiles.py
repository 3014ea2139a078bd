"""Squared distances between the rows of two samples, one tile after another.

A tile is one float32 matrix product: with rows ``[-2x, |x|^2, 1]`` on the left and
``[y, 1, |y|^2]`` on the right it holds ``|x - y|^2``. That is the sum of large numbers
of both signs, so the samples are centred and scaled in float64 first, and pairs whose
distance is small beside their norms are computed again in float64, by differences.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

__all__ = [
    "Tiler",
    "frames",
    "is_framed",
    "is_small",
    "prepare",
    "row_blocks",
    "sum_over_pairs",
]

# Large enough that the calls of numpy do not matter, small enough for the caches.
TILE_ROWS, TILE_COLUMNS = 512, 1024
# Squares on the diagonal, of which half is in vain.
DIAGONAL = 128
# Features from which numpy's product of a matrix with its own transpose, which computes
# one half only, makes up for the norms that are added in passes of their own.
MANY_FEATURES = 128
# Pairs times features up to which float64 takes no more than a few milliseconds.
SMALL = 2**22
# Below this part of |x|^2 + |y|^2 a squared distance lost 10 of its 24 bits.
NEAR = 2.0**-10
# Squares below this one may have lost bits to underflow.
TINY = 1e-30
# Rows that the scale is taken from, if it proves good enough.
FRAME_ROWS = 512
# Numbers that a conversion from float64 holds at a time.
BLOCK = 2**14


@dataclass(frozen=True)
class Sample:
    """Rows of one sample, in the unit that both samples share.

    `augmented` is the float32 copy ``[x, 1, |x|^2]`` of the centred rows, or None if
    the distances are computed in float64 throughout.
    """

    X: np.ndarray
    scale: float
    centre: np.ndarray
    norms: np.ndarray
    augmented: np.ndarray | None

    def __len__(self):
        return len(self.X)

    @property
    def n_features(self):
        return self.X.shape[1]

    def rows(self, index):
        """Rows in float64, not centred: only differences are taken of them."""
        return np.multiply(self.X[index], self.scale, dtype=np.float64)

    def centred(self, index):
        """Centred rows in float64."""
        return self.rows(index) - self.centre


@dataclass(frozen=True)
class Samples:
    """Two samples, centred and divided by their common `unit`, a power of 2."""

    real: Sample
    gen: Sample
    unit: float

    @property
    def in_float64(self):
        return self.real.augmented is None

    @property
    def identical(self):
        real, gen = self.real.X, self.gen.X
        # The first rows tell most samples apart without a pass over the memory.
        return np.array_equal(real[0], gen[0]) and np.array_equal(real, gen)


def prepare(X_real, X_gen, *, in_float64=False):
    """Centre and scale two samples of the same columns, so that no square overflows.

    Small samples are left in float64, others only if `in_float64` asks for it.
    """
    in_float64 = in_float64 or is_small(X_real, X_gen)
    for centre, scale in frames(X_real, X_gen):
        real, gen = (
            _prepare_one(X, centre, scale, in_float64) for X in (X_real, X_gen)
        )
        if is_framed(max(real.norms.max(), gen.norms.max())):
            break
    return Samples(real, gen, unit=1 / scale)


def is_framed(largest):
    """Whether the largest value in a frame is well within the range of float32."""
    return 2.0**-40 < largest < 2.0**40


def is_small(X_real, X_gen):
    """Whether two samples can be compared in float64 within milliseconds."""
    return (len(X_real) + len(X_gen)) ** 2 * X_real.shape[1] <= SMALL


def frames(X_real, X_gen):
    """Centre of two samples, scaled, and the scale that brings their range near 1.

    The first one is taken from some of the rows, which spares three passes over the
    memory; the second from all, for samples in which the first missed the large values.
    """
    both = (X_real, X_gen)
    step = max(1, sum(map(len, both)) // FRAME_ROWS)
    for rows in (slice(None, None, step), slice(None)):
        lows, highs, means = zip(*(_summarise(X[rows]) for X in both), strict=True)
        low, high = np.minimum(*lows), np.maximum(*highs)
        # A power of 2, which leaves all digits as they are.
        exponent = np.clip(np.frexp((high / 2 - low / 2).max())[1], -1000, 1000)
        scale = float(np.ldexp(1.0, -exponent))
        centre = np.average(means, axis=0, weights=[*map(len, both)])
        # Clipped, lest the digits lost in the mean of a constant column be distances.
        yield np.clip(centre, low, high) * scale, scale


def _summarise(X):
    """Smallest, largest and mean value of each column."""
    with np.errstate(over="ignore"):
        mean = X.mean(axis=0, dtype=np.float64)
    low, high = (f(axis=0).astype(np.float64) for f in (X.min, X.max))
    return low, high, np.clip(mean, low, high)


def _prepare_one(X, centre, scale, in_float64):
    n, d = X.shape
    norms = np.empty(n)
    augmented = None if in_float64 else np.empty((n, d + 2), np.float32)
    # Blocks that stay in the cache from step to step.
    at_once = max(1, BLOCK // d)
    buffer = np.empty((min(at_once, n), d))
    # The caller sees from the norms if the frame was too small.
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(0, n, at_once):
            block = buffer[: rows.stop - rows.start]
            np.multiply(X[rows], scale, out=block)
            block -= centre
            np.einsum("ij,ij->i", block, block, out=norms[rows])
            if not in_float64:
                augmented[rows, :d] = block
    if not in_float64:
        augmented[:, d] = 1
        with np.errstate(over="ignore"):
            augmented[:, d + 1] = norms
    return Sample(X, scale, centre, norms, augmented)


def row_blocks(start, stop, size):
    """Slices of at most `size` that cover ``range(start, stop)``."""
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def fit_tile(samples, n_bytes):
    """Largest tile, up to the usual size, whose buffers stay below `n_bytes`."""
    longest = max(len(samples.real), len(samples.gen))
    rows, columns = min(TILE_ROWS, longest), min(TILE_COLUMNS, longest)
    while rows * columns > 1:
        # The tile and its scratch copies in float64; the rows of both sides.
        features = (rows + columns) * samples.real.n_features
        if rows * columns * 40 + features * 16 <= n_bytes:
            break
        rows, columns = (rows, columns // 2) if columns > rows else (rows // 2, columns)
    return rows, columns


class Tiler:
    """Tiles of ``factor * |x - y|^2``, in buffers that the next tile overwrites.

    Parameters
    ----------
    samples : Samples
    n_bytes : float
        Bound of the buffers.
    factor : float
        Of every squared distance; negative ones spare a pass before ``exp(-d^2)``.
    shape : (int, int) or None
        Rows and columns of a tile; None fits the usual size into `n_bytes`.
    repair : bool
        Whether pairs that are close for their norms are computed again in float64.
    """

    def __init__(self, samples, n_bytes, *, factor=1.0, shape=None, repair=True):
        d = samples.real.n_features
        self.rows, self.columns = shape or fit_tile(samples, 0.75 * n_bytes)
        self.pairs_at_once = max(1, int(0.25 * n_bytes / (40 * d)))
        self.in_float64 = samples.in_float64
        self.dtype = np.float64 if self.in_float64 else np.float32
        # Rounded once, so that all terms of a product have the very same factor.
        self.factor = float(self.dtype(factor))
        self.repair = repair
        self._tile = np.empty(self.rows * self.columns, self.dtype)
        if not self.in_float64:
            self._left = np.empty((self.rows, d + 2), np.float32)

    def between(self, A, B):
        """Tiles of all pairs of a row of A and a row of B.

        Yields
        ------
        rows, columns : slice
        tile : array of shape (len(rows), len(columns))
        """
        for block in row_blocks(0, len(A), self.rows):
            self._load(A, block)
            for columns in row_blocks(0, len(B), self.columns):
                yield block, columns, self._compute(A, block, B, columns, block)

    def within(self, A):
        """Tiles of the pairs i <= j of rows of A, squares on the diagonal among them.

        Yields as `between`; `rows` and `columns` are equal or disjoint.
        """
        for block in row_blocks(0, len(A), self.rows):
            self._load(A, block)
            areas = list(_triangle(block.start, block.stop, self.columns))
            beyond = row_blocks(block.stop, len(A), self.columns)
            areas += [(block, columns) for columns in beyond]
            for rows, columns in areas:
                yield rows, columns, self._compute(A, rows, A, columns, block)

    def _load(self, A, block):
        if self.in_float64:
            return
        d, length, factor = A.n_features, block.stop - block.start, self.factor
        left, rows = self._left[:length], A.augmented[block]
        np.multiply(rows[:, :d], np.float32(-2 * factor), out=left[:, :d])
        np.multiply(rows[:, d + 1], np.float32(factor), out=left[:, d])
        left[:, d + 1] = factor

    def _compute(self, A, rows, B, columns, block):
        shape = rows.stop - rows.start, columns.stop - columns.start
        tile = self._tile[: shape[0] * shape[1]].reshape(shape)
        if self.in_float64:
            return self._by_differences(tile, A, rows, B, columns)
        on_diagonal = A is B and rows == columns
        if on_diagonal and A.n_features >= MANY_FEATURES:
            self._multiply_symmetrically(tile, A, rows)
        else:
            left = self._left[rows.start - block.start : rows.stop - block.start]
            np.matmul(left, B.augmented[columns].T, out=tile)
        if on_diagonal:
            np.fill_diagonal(tile, np.copysign(np.inf, self.factor))
        if self.repair:
            self._compute_near_pairs_again(tile, A, rows, B, columns)
        if on_diagonal:
            np.fill_diagonal(tile, 0)
        return tile

    def _multiply_symmetrically(self, tile, A, rows):
        X = A.augmented[rows, : A.n_features]
        np.matmul(X, X.T, out=tile)
        tile *= np.float32(-2 * self.factor)
        norms = np.float32(self.factor) * A.augmented[rows, -1]
        tile += norms[:, None]
        tile += norms

    def _by_differences(self, tile, A, rows, B, columns):
        tile[...] = cdist(A.rows(rows), B.rows(columns), "sqeuclidean")
        tile *= self.dtype(self.factor)
        return tile

    def _compute_near_pairs_again(self, tile, A, rows, B, columns):
        size = abs(self.factor)
        nearest = tile.min() if self.factor > 0 else -tile.max()
        norms_a, norms_b = A.norms[rows], B.norms[columns]
        if nearest >= size * (NEAR * (norms_a.max() + norms_b.max()) + TINY):
            return
        bounds = np.add.outer(NEAR * norms_a + TINY, NEAR * norms_b, dtype=np.float32)
        bounds *= np.float32(self.factor)
        near = tile < bounds if self.factor > 0 else tile > bounds
        pairs = np.flatnonzero(near)
        if len(pairs) > tile.size // 16:
            self._by_differences(tile, A, rows, B, columns)
            return
        i, j = np.divmod(pairs, tile.shape[1])
        exact = self.exactly(A, rows.start + i, B, columns.start + j)
        tile.reshape(-1)[pairs] = self.factor * exact

    def exactly(self, A, i, B, j):
        """Squared distances of the pairs (A[i], B[j]) in float64, by differences."""
        squared = np.empty(len(i))
        for part in row_blocks(0, len(i), self.pairs_at_once):
            difference = A.rows(i[part]) - B.rows(j[part])
            squared[part] = np.einsum("ij,ij->i", difference, difference)
        return squared


def _triangle(start, stop, columns):
    """Cover the pairs i <= j of a range: halves, and the rectangle between them."""
    if stop - start <= min(DIAGONAL, columns):
        yield slice(start, stop), slice(start, stop)
        return
    middle = (start + stop) // 2
    yield from _triangle(start, middle, columns)
    yield from _triangle(middle, stop, columns)
    for part in row_blocks(middle, stop, columns):
        yield slice(start, middle), part


def sum_over_pairs(samples, transform, n_bytes, *, factor=1.0, at_zero=0.0):
    """Sums of a function of the squared distance, over the ordered pairs of rows.

    Parameters
    ----------
    samples : Samples
    transform : callable
        Takes a tile of ``factor * |x - y|^2``, may overwrite and must return it.
    n_bytes, factor
        Of the tiles.
    at_zero : float
        Value of the function at distance 0.

    Returns
    -------
    across, within_real, within_gen : float
        `across` is over all pairs of the two samples, `within` over pairs of two
        different rows.
    """
    tiler = Tiler(samples, n_bytes, factor=factor)

    def within(sample):
        value = 0.0
        for rows, columns, tile in tiler.within(sample):
            if rows == columns:
                value += _total(transform(tile)) - len(tile) * at_zero
            else:
                value += 2 * _total(transform(tile))
        return value

    within_real = within(samples.real)
    if samples.identical:
        # Rounded alike, so that a sample is at distance 0 of itself.
        across = within_real + len(samples.real) * at_zero
        return across, within_real, within_real
    tiles = tiler.between(samples.real, samples.gen)
    across = sum(_total(transform(tile)) for _, _, tile in tiles)
    return across, within_real, within(samples.gen)


def _total(tile):
    """Sum in float64 of short sums in the tile's own type.

    A product with ones takes a third of the time of a float64 sum; 32 at a time lose
    four times less to rounding than whole rows do.
    """
    values = tile.reshape(-1)
    whole = values.size // 32 * 32
    short_sums = values[:whole].reshape(-1, 32) @ np.ones(32, tile.dtype)
    rest = values[whole:].sum(dtype=np.float64)
    return float(short_sums.sum(dtype=np.float64) + rest)
