"""Contrasts: numbers computed from the distribution of a mechanism's output.

A contrast is any callable from a tensor of shape ``(n, *shape)``, the output for n
rows, to a 0-d tensor. It must be differentiable to be used in a penalty. Those of this
module are value objects; a function of one's own, such as
``lambda output: output.abs().mean()``, does as well (a named function pickles).

Others are distributions: `PatchDistribution` and `Marginals` compare an output with
rows of the data. Such a contrast has ``distance(output, rows, generator)``, a 0-d
tensor that is about 0 where both have one distribution; ``n_rows``, how many rows
of an output are enough; and ``check(shape)``, which raises ValueError for rows that it
cannot read.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def power(output: Tensor) -> Tensor:
    """Mean square of the output, over rows and units."""
    return output.square().mean()


@dataclass(frozen=True)
class Kurtosis:
    r"""Mean over units of the kurtosis over rows.

    .. math:: \mathrm{E}[x^4] / \mathrm{E}[x^2]^2, \quad x \text{ centred},

    3 for Gaussian units, between 1 and n for n rows. Units that do not vary (beyond
    rounding) have no kurtosis and are left out; 0 if no unit varies.

    Examples
    --------
    >>> Kurtosis()(torch.tensor([[1.0, 7.0], [-1.0, 7.0]]))
    tensor(1.)
    """

    def __call__(self, output: Tensor) -> Tensor:
        info = torch.finfo(output.dtype)
        centred = output - output.mean(0)
        variance = centred.square().mean(0)
        # The mean of equal values may be off by a few ulp.
        rounding = (16 * info.eps) ** 2 * output.square().mean(0)
        varies = variance > rounding.clamp(min=info.tiny)
        scale = torch.where(varies, variance, torch.ones_like(variance)).sqrt()
        kurtosis = (centred / scale).pow(4).mean(0)
        kurtosis = torch.where(varies, kurtosis, torch.zeros_like(kurtosis))
        return kurtosis.sum() / varies.sum().clamp(min=1)


@dataclass(frozen=True)
class PatchStatistics:
    """Mean variance of maps within small patches: how much fine texture there is.

    The mean over rows, channels and all patches that lie within the map of the
    variance of a patch's values.

    Parameters
    ----------
    size : int
        Side of a patch, which has one axis for signals and two for images; at least
        2, since a single value does not vary.

    Examples
    --------
    >>> PatchStatistics(2)(torch.tensor([[[0.0, 2.0, 2.0]]]))
    tensor(0.5000)
    """

    size: int = 3

    def __post_init__(self) -> None:
        size = self.size
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise TypeError(f"PatchStatistics: size must be an int, got {size!r}.")
        if size < 2:
            raise ValueError(f"PatchStatistics: size must be at least 2, got {size}.")
        object.__setattr__(self, "size", int(size))

    def __call__(self, output: Tensor) -> Tensor:
        spatial = tuple(output.shape[2:])
        if not spatial:
            raise ValueError(
                f"{self!r} needs maps, (n, channels, length) or (n, channels, height, "
                f"width), got an output of shape {tuple(output.shape)}. For vectors "
                "use Kurtosis, or the power (None)."
            )
        if min(spatial) < self.size:
            raise ValueError(
                f"{self!r} needs maps of at least {self.size} along every axis, got "
                f"{spatial}. Use a smaller size."
            )
        patches = output
        for axis in range(2, output.ndim):
            patches = patches.unfold(axis, self.size, 1)
        within = tuple(range(-len(spatial), 0))
        return patches.var(dim=within, correction=0).mean()


# So near each other that few of them are drawn from one image.
PATCHES_PER_ROW = 16
# Of a batch, that marginals look at.
MARGINAL_ROWS = 256
FAST, EXACT = "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"


def energies(output: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Energy distance of two samples of vectors, and the mean distance within one.

    Parameters
    ----------
    output : Tensor of shape (..., n, k)
    rows : Tensor of shape (..., m, k)

    Returns
    -------
    distance : Tensor of shape (...,)
        Unbiased: :math:`2 E|X - Y| - E|X - X'| - E|Y - Y'|`, with X of `output`.
    within : Tensor of shape (...,)
        :math:`E|Y - Y'|` of `rows`, the unit of the first.
    """
    # About their middle, where squares lose least to rounding. In float32 by products
    # of matrices, which take a third to a ninth of the time.
    middle = rows.mean(-2, keepdim=True)
    x, y = output - middle, rows - middle
    mode = FAST if x.dtype == torch.float32 else EXACT
    across = torch.cdist(x, y, compute_mode=mode).mean((-2, -1))
    own, within = (
        torch.cdist(v, v, compute_mode=mode).sum((-2, -1))
        / max(1, v.shape[-2] * (v.shape[-2] - 1))
        for v in (x, y)
    )
    return 2 * across - own - within, within


def _relative(output: Tensor, rows: Tensor) -> Tensor:
    """Mean of energy distances in units of the rows' own, where these vary; 0-d."""
    distance, within = energies(output, rows)
    varies = within > 0
    ratio = distance / torch.where(varies, within, torch.ones_like(within))
    ratio = torch.where(varies, ratio, torch.zeros_like(ratio))
    return ratio.sum() / varies.sum().clamp(min=1)


@dataclass(frozen=True)
class PatchDistribution:
    r"""Distribution of small patches: what images or signals look like close by.

    A contrast of `GenericPenalty`: how far the patches of an output are from those of
    the data's rows. It is left alone by parts that move as they are, as long as they
    stay apart and within the image.

    Parameters
    ----------
    sizes : sequence of int
        Sides of patches, in pixels, at least 2; they have one axis for signals and two
        for images, and all channels. Of several the mean is taken.
    n_patches : int
        Patches of each size that are drawn from each sample, at least 2; at most 16
        from an image, which is why few rows of a batch are enough.

    Notes
    -----
    The unbiased energy distance

    .. math:: 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    of patches X of the output and Y of the rows over :math:`E|Y - Y'|`: without unit,
    0 if patches of the rows do not vary, and on average 0 for equal distributions (a
    little more, as patches of one image resemble each other). Patches are about places
    that are drawn uniformly, at the border as well, where its values are repeated
    outwards: else parts that moved there would seem to be another kind of parts. The
    cost does not grow with the images.

    References
    ----------
    Székely, Rizzo (2013), *Energy statistics: a class of statistics based on
    distances*, Journal of Statistical Planning and Inference 143. That hidden maps be
    stretched while local statistics stay is from Besserve, Sun, Janzing, Schölkopf
    (2021), *A theory of independent mechanisms for extrapolation in generative models*,
    arXiv 2004.00184.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> rows = torch.rand(100, 1, 9, 9, generator=generator)
    >>> patches = PatchDistribution((3,))
    >>> same, dark = (patches.distance(x, rows, generator) for x in (rows, rows / 2))
    >>> same < 0.05 < dark
    tensor(True)
    """

    sizes: Sequence[int] = (7,)
    n_patches: int = 256

    def __post_init__(self) -> None:
        sizes = tuple(self.sizes) if isinstance(self.sizes, Sequence) else ()
        if not sizes or not all(_is_int(size) and size >= 2 for size in sizes):
            raise ValueError(
                "PatchDistribution: sizes must be a non-empty sequence of ints of at "
                f"least 2, such as (7,), got {self.sizes!r}."
            )
        if not _is_int(self.n_patches) or self.n_patches < 2:
            raise ValueError(
                "PatchDistribution: n_patches must be an int of at least 2, got "
                f"{self.n_patches!r}."
            )
        object.__setattr__(self, "sizes", tuple(map(int, sizes)))

    @property
    def n_rows(self) -> int:
        """Rows of an output that are enough."""
        return -(-self.n_patches // PATCHES_PER_ROW)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for rows that have no such patches.

        Parameters
        ----------
        shape : tuple of int
            Of a row, channels first.
        """
        if len(shape) < 2 or min(shape[1:]) < max(self.sizes):
            raise ValueError(
                f"{self!r} needs images or signals of at least {max(self.sizes)} along "
                f"every axis, got rows of shape {tuple(shape)} (channels first). Use "
                "smaller sizes; for vectors Marginals()."
            )

    def distance(
        self, output: Tensor, rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Distance of an output's patches from those of rows of the data, 0-d.

        Parameters
        ----------
        output : Tensor of shape (n, channels, ``*grid``)
        rows : Tensor of shape (m, channels, ``*grid``)
        generator : torch.Generator
            Of the places; on the CPU.
        """
        n = max(2, min(self.n_patches, PATCHES_PER_ROW * len(output)))
        found = [
            _relative(*(_patches(maps, size, n, generator) for maps in (output, rows)))
            for size in self.sizes
        ]
        return torch.stack(found).mean()


@dataclass(frozen=True)
class Marginals:
    """Distributions of the single entries of rows, such as the columns of a table.

    A contrast of `GenericPenalty`: the mean over entries of how far the output's
    distribution is from that of the data's rows, by the unbiased energy distance over
    the mean distance of two rows. Entries in which the rows do not vary are left out.

    Examples
    --------
    >>> rows = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> Marginals().distance(rows.flip(0), rows) < 0.01 < Marginals().distance(
    ...     rows + 2, rows
    ... )
    tensor(True)
    """

    n_rows = MARGINAL_ROWS

    def check(self, shape: tuple[int, ...]) -> None:
        """Accept rows of any shape.

        Parameters
        ----------
        shape : tuple of int
        """

    def distance(
        self, output: Tensor, rows: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Distance of an output's entries from those of rows of the data, 0-d.

        Parameters
        ----------
        output : Tensor of shape (n, ``*shape``)
        rows : Tensor of shape (m, ``*shape``)
        generator : torch.Generator, optional
            Not read: nothing is drawn.
        """
        entries = (v[: self.n_rows].flatten(1).T[..., None] for v in (output, rows))
        return _relative(*entries)


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _patches(maps: Tensor, size: int, n: int, generator: torch.Generator) -> Tensor:
    """Patches about random places of maps, shape (n, size ** axes * channels)."""
    shape = len(maps), *maps.shape[2:]
    row, *middles = (
        torch.randint(end, (n,), generator=generator).to(maps.device) for end in shape
    )
    steps = torch.arange(size, device=maps.device) - (size - 1) // 2
    n_axes = len(middles)
    index = [row.view(-1, *[1] * n_axes)]
    for k, (middle, length) in enumerate(zip(middles, shape[1:], strict=True)):
        along = (middle[:, None] + steps).clamp(0, length - 1)
        index.append(along.view(-1, *[1] * k, size, *[1] * (n_axes - k - 1)))
    return maps.movedim(1, -1)[tuple(index)].flatten(1)
