"""Banks of kinds that columns have by name, or are given, while they are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..columns._lines import cross_entropies
from ._mixture import MixtureBank
from ._mixture import losses as mixture_losses
from ._own import ModuleFunction


class OwnBank(nn.Module):
    """Modules of some columns while they are trained; as `ColumnBank`, of one copy."""

    n_copies = 1

    def __init__(
        self, functions: Mapping[int, ModuleFunction], seen: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.places = tuple(functions)
        self.heads = [own.n_heads for own in functions.values()]
        self.seen = [seen[k] for k in functions]
        self.functions = nn.ModuleList(functions.values())
        columns = torch.tensor(self.places, dtype=torch.long)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        pairs = zip(self.functions, self.seen, strict=True)
        return torch.cat([own(inputs[:, seen]) for own, seen in pairs], 1)[:, None]


def more_banks(
    kinds: Mapping[str, Sequence[str]],
    reads: Tensor,
    n_units: int,
    functions: Mapping[int, nn.Module],
    seen: Sequence[Tensor],
) -> dict[str, nn.Module]:
    """Banks of mixtures, and of the modules among functions of columns.

    The latter of numbers ("own") and of levels. See `FittedBanks` for the rest.
    """
    found = {}
    for k, own in functions.items():
        if isinstance(own, ModuleFunction):
            found.setdefault("own levels" if own.has_levels else "own", {})[k] = own
    banks = {name: OwnBank(own, seen) for name, own in found.items()}
    mixtures = [k for k, own in enumerate(kinds.values()) if "mixture" in own]
    if mixtures:
        banks["mixture"] = MixtureBank(mixtures, reads, n_units)
    return banks


def level_losses(heads: Tensor, codes: Tensor, widths: Sequence[int]) -> Tensor:
    """Cross-entropies of columns, (..., n, 1, n_columns), for all their heads."""
    none = heads.new_zeros(sum(widths))
    return cross_entropies(heads[..., 0, :], codes, none, widths)[..., None, :]


# Of banks that leave no noise: what they lose of targets, for heads of some widths.
LOSSES = {
    "own levels": level_losses,
    "mixture": mixture_losses,
}
