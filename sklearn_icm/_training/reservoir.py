"""What a stream of batches leaves behind: a sample in which old rows fade."""

from __future__ import annotations

import torch
from torch import Tensor


def renewed(kept: Tensor, new: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Kept and new rows, at most so many; then new rows replace random ones.

    Old rows fade exponentially, so that those of a model that still changed are
    forgotten. Random numbers are drawn on the CPU.
    """
    if len(new) > most:
        new = new[torch.randperm(len(new), generator=generator)[:most].to(new.device)]
    room = most - len(kept)
    joined = torch.cat([kept, new[:room]])
    late = new[room:]
    if len(late):
        places = torch.randperm(len(joined), generator=generator)[: len(late)]
        joined[places.to(joined.device)] = late
    return joined
