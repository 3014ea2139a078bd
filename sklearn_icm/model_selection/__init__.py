"""Which model: splitters over environments."""

from ._split import LeaveEnvironmentOut

__all__ = ["LeaveEnvironmentOut"]
