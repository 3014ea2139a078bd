"""Distances by name."""

from functools import partial

from .pairwise import energy_distance, median_bandwidth, mmd2
from .sliced import sliced_wasserstein
from .transport import TransportTo

__all__ = ["DISTANCES", "check_distance", "comparable_distance", "distance_to"]

DISTANCES = {
    "energy": energy_distance,
    "mmd": mmd2,
    "sliced_wasserstein": sliced_wasserstein,
}


def check_distance(distance, also=()):
    """Raise ValueError unless it is a callable or the name of a distance."""
    names = [*DISTANCES, *also]
    if not callable(distance) and (
        not isinstance(distance, str) or distance not in names
    ):
        raise ValueError(
            f"distance must be a callable or one of {names}, got {distance!r}."
        )


def comparable_distance(distance, X_env, X_baseline):
    """Function ``(X_real, X_gen) -> float`` whose values of one X_env are comparable.

    The kernel of "mmd" is then the same for all.
    """
    check_distance(distance)
    if distance == "mmd":
        return partial(mmd2, bandwidth=median_bandwidth(X_env, X_baseline))
    return distance if callable(distance) else DISTANCES[distance]


def distance_to(X_env, distance, X_baseline):
    """Function ``X_gen -> float``: distance from an environment, "transport" too."""
    if isinstance(distance, str) and distance == "transport":
        return TransportTo(X_env)
    return partial(comparable_distance(distance, X_env, X_baseline), X_env)
