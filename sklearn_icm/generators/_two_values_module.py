"""Entries of two values under Gaussian noise: what bounds make of their draws."""

import numpy as np

from .._training.queries import RowQueries
from ..utils.streams import Streams

# Of a mean or a deviation, in deviations.
MOST_MOVED = 0.1
# What float32 makes of a constant column may not vary at all.
TINY = np.finfo(float).tiny
# Rows of the rarer value: of fewer little is known.
FEWEST_ROWS = 10
# Of images and signals few have many entries.
N_TABLE_DRAWS, N_IMAGE_DRAWS = 1000, 50


def doubts_of_two_values(module, bounds, names, n_rows, entropy):
    """What to warn of: entries of two values whose moments clipping to bounds moves.

    Columns of a table each, else all entries together.
    """
    levels = getattr(module.likelihood, "levels", None)
    if bounds is None or levels is None or not bool(levels.diff(dim=0).any()):
        return []
    is_table = module.layout.data_shape is None
    n, axis = (N_TABLE_DRAWS, 0) if is_table else (N_IMAGE_DRAWS, None)
    # The same draws twice, so that chance moves none.
    chunks = RowQueries(module, None).prior(
        {}, n, Streams(entropy), noisy=True, paired=False
    )
    drawn = np.concatenate([rows for _, rows in chunks])
    clipped, deviation = np.clip(drawn, *bounds), drawn.std(axis)
    changes = clipped.mean(axis) - drawn.mean(axis), clipped.std(axis) - deviation
    moved, which = np.abs(changes).max(0) / np.maximum(deviation, TINY), "all entries"
    if is_table:
        low, high = levels.cpu().numpy()
        above = module.likelihood.link.offset.cpu().numpy() - low
        rarer = n_rows * np.minimum(above, high - low - above)
        is_known = (high > low) & (rarer >= (FEWEST_ROWS - 0.5) * (high - low))
        moved = np.where(is_known, moved, 0.0)
        which = "columns " + ", ".join(map(str, names[moved > MOST_MOVED]))
    if moved.max() <= MOST_MOVED:
        return []
    return [
        f"Of two values ({which}), samples have another mean or standard deviation, by "
        f"{moved.max():.0%} of the latter, since bounds clip their Gaussian noise. Set "
        "likelihood='bernoulli' if all of X is 0 or 1; else bounds=None keeps the "
        "moments, and GraphGenerator draws the values of such columns. An image may "
        "need more epochs."
    ]
