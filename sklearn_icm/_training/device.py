"""Which device computes."""

from __future__ import annotations

import torch


def resolve_device(device: str, fallback: str | None = None) -> torch.device:
    """Return the torch device for a name; "auto" is CUDA, else MPS, else CPU.

    A device that is not on this machine is an error, unless there is a fallback (for
    models that were fitted elsewhere).
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type == "meta":
            raise RuntimeError("a meta device computes nothing")
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        if fallback is not None:
            return torch.device(fallback)
        known = ["auto", "cpu"]
        known += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        known += ["mps"] * torch.backends.mps.is_available()
        raise ValueError(
            f"device={device!r} cannot be used here; the devices are {known}."
        ) from error
    return resolved
