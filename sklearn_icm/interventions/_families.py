"""Families of interventions: a few bounded numbers, each choice of which makes one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from numbers import Real
from typing import Any

import torch

from ._base import Intervention, as_intervention
from ._checks import Shape, axis_lengths, is_finite
from ._geometric import Rotate, Stretch, Translate
from ._soft import Scale, Shift
from ._stochastic import Noise

# Of an intervention's strength: 0 changes nothing, 1 is the intervention itself.
STRENGTHS = (-1.0, 2.0)


@dataclass(frozen=True, eq=False, repr=False)
class InterventionFamily:
    """A few bounded numbers, each choice of which makes an intervention.

    `fit_intervention` searches for the best choice; a generic ratio draws random ones.

    Parameters
    ----------
    make : callable
        Takes the parameters by name and returns an intervention.
    bounds : dict of str to (low, high)
        Range of each parameter, finite and ``low < high``.
    neutral : dict of str to float, optional
        Values that change nothing; a search for the best parameters looks there too.
    name : str, optional
        For tables; None takes the name of what `make` calls.
    relative : sequence of str
        Parameters whose bounds and neutral value are in standard deviations of the
        node's values, and not in the units of the node.
    open_ended : sequence of str
        Parameters whose bounds are where a search starts: while the best value lies at
        an end other than 0, and going on helps, it looks beyond.

    Raises
    ------
    TypeError
        If `make` is not callable or `bounds` is not a dict.
    ValueError
        For bounds that are reversed, equal or not finite, and for names in `neutral`,
        `relative` or `open_ended` that are not those of `bounds`.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn_icm.interventions import Stretch
    >>> wider = InterventionFamily(
    ...     partial(Stretch, axis="width"), {"factor": (0.5, 2.0)}, {"factor": 1.0}
    ... )
    >>> wider
    InterventionFamily('Stretch', factor in [0.5, 2])
    >>> wider(factor=1.5)
    Stretch(factor=1.5, axis='width')
    """

    make: Callable[..., Any]
    bounds: Mapping[str, tuple[float, float]]
    neutral: Mapping[str, float] | None = None
    name: str | None = None
    relative: Sequence[str] = ()
    open_ended: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise TypeError(
                "InterventionFamily: make must be a callable that returns an "
                f"intervention, got {self.make!r}."
            )
        bounds = _check_bounds(self.bounds)
        object.__setattr__(self, "bounds", bounds)
        if self.neutral is not None:
            object.__setattr__(self, "neutral", _check_neutral(self.neutral, bounds))
        for field in ("relative", "open_ended"):
            names = getattr(self, field)
            if isinstance(names, str) or any(name not in bounds for name in names):
                raise ValueError(
                    f"InterventionFamily: {field} must be a sequence of names of "
                    f"parameters, which are {list(bounds)}, got {names!r}."
                )
            object.__setattr__(self, field, tuple(names))
        if self.name is None:
            made_by = getattr(self.make, "func", self.make)
            name = getattr(made_by, "__name__", type(made_by).__name__)
            object.__setattr__(self, "name", name)

    def __repr__(self) -> str:
        ranges = (
            f"{k} in [{low:g}, {high:g}]" + " sd" * (k in self.relative)
            for k, (low, high) in self.bounds.items()
        )
        return f"InterventionFamily({self.name!r}, {', '.join(ranges)})"

    def __call__(self, **params: float) -> Intervention:
        """Intervention with these parameters."""
        return as_intervention(self.make(**params))

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Intervention:
        """Draw an intervention, each parameter uniform within its bounds.

        Parameters
        ----------
        node_shape : tuple of int
            Not read: the bounds are those of a shape already.
        generator : torch.Generator
            On the CPU; the only source of randomness.

        Raises
        ------
        ValueError
            For relative parameters, as long as they are not `in_units` of a node.
        """
        if self.relative:
            raise ValueError(
                f"{self!r} has parameters in standard deviations of a node: draw from "
                "family.in_units(sd)."
            )
        shares = torch.rand(len(self.bounds), generator=generator, dtype=torch.float64)
        pairs = zip(self.bounds.items(), shares.tolist(), strict=True)
        return self(**{k: low + t * (high - low) for (k, (low, high)), t in pairs})

    @classmethod
    def of_strength(cls, intervention: Intervention) -> InterventionFamily:
        """Family of one continuous intervention, at strengths from -1 to 2.

        Parameters
        ----------
        intervention : intervention with `scaled`

        Raises
        ------
        TypeError
            For an intervention that has no strength, such as ``Do``.
        """
        intervention.scaled(1.0)
        return cls(
            partial(_at_strength, intervention),
            {"strength": STRENGTHS},
            {"strength": 0.0},
            name=repr(intervention),
        )

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        """Raise ValueError if the family does not fit a node of this shape.

        Parameters
        ----------
        node : str
        shape : tuple of int
        kind : str, optional
            See `Intervention.check`.
        """
        middle = self(**{k: (low + high) / 2 for k, (low, high) in self.bounds.items()})
        middle.check(node, shape, kind)

    def in_units(self, sd: float) -> InterventionFamily:
        """Family with its relative parameters in the units of a node.

        Parameters
        ----------
        sd : float
            Standard deviation of the node's values, positive.
        """
        unit = {name: sd if name in self.relative else 1.0 for name in self.bounds}
        bounds = {k: (a * unit[k], b * unit[k]) for k, (a, b) in self.bounds.items()}
        neutral = self.neutral and {k: v * unit[k] for k, v in self.neutral.items()}
        return replace(self, bounds=bounds, neutral=neutral, relative=())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InterventionFamily) and _key_of(self) == _key_of(other)

    def __hash__(self) -> int:
        return hash(_key_of(self))


def _key_of(family: InterventionFamily) -> tuple:
    make = family.make
    if isinstance(make, partial):
        # Equal partials are different objects after a pickle.
        make = (make.func, make.args, tuple(sorted(make.keywords.items())))
    neutral = family.neutral and tuple(family.neutral.items())
    ends = (family.relative, family.open_ended)
    return (make, tuple(family.bounds.items()), neutral, family.name, *ends)


def _at_strength(intervention: Intervention, strength: float) -> Intervention:
    return intervention.scaled(strength)


def _scale_and_shift(scale: float, shift: float) -> Intervention:
    return Scale(scale) >> Shift(shift)


def _is_finite(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and is_finite(value)


def _check_bounds(bounds: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(bounds, Mapping) or not bounds:
        raise TypeError(
            "InterventionFamily: bounds must be a non-empty dict {parameter: (low, "
            f"high)}}, got {bounds!r}."
        )
    checked = {}
    for name, pair in bounds.items():
        valid = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not valid or not all(map(_is_finite, pair)) or not pair[0] < pair[1]:
            raise ValueError(
                f"InterventionFamily: bounds[{name!r}] must be (low, high), finite and "
                f"low < high, got {pair!r}."
            )
        checked[name] = (float(pair[0]), float(pair[1]))
    return checked


def _check_neutral(neutral: Any, bounds: Mapping[str, Any]) -> dict[str, float]:
    named = isinstance(neutral, Mapping) and set(neutral) == set(bounds)
    if not named or not all(map(_is_finite, neutral.values())):
        raise ValueError(
            "InterventionFamily: neutral must be None or a dict with a finite number "
            f"for each of {list(bounds)}, got {neutral!r}."
        )
    return {name: float(neutral[name]) for name in bounds}


def families_for(shape: Shape, kind: str | None = None) -> list[InterventionFamily]:
    """Return the ready families that fit a node.

    Parameters
    ----------
    shape : tuple of int
        ``(units,)``, or of maps ``(channels, length)`` or ``(channels, height,
        width)``.
    kind : {"vector", "map", "points", "levels"}, optional
        What the node is, such as ``graph_.kinds`` says; None goes by the shape.

    Returns
    -------
    list of InterventionFamily
        One number for the whole node (two for "affine"). Shifts and noise go up to 3
        standard deviations of the node and scales from 0 to 3 where a search starts (it
        goes on beyond while that helps), stretches from 0.5 to 2, translations to a
        quarter of the axis, rotations to 90 degrees.

    Examples
    --------
    >>> [family.name for family in families_for((5,))]
    ['shift', 'scale', 'affine', 'noise']
    """
    return [f for f in _ready(shape).values() if _fits(f, shape, kind)]


def as_family(
    value: Any, shape: Shape, groups: Collection[str] = ()
) -> InterventionFamily:
    """Return a family as such: a ready one by name, or the strengths of one change.

    The range of a translation depends on the node's shape; ``groups`` are names that
    are known beside those of the ready families.
    """
    if isinstance(value, InterventionFamily):
        return value
    if isinstance(value, Intervention):
        return InterventionFamily.of_strength(value)
    if not isinstance(value, str):
        raise TypeError(
            "family must be an InterventionFamily, the name of a ready one, or a "
            f"continuous intervention such as Stretch(1.5), got {value!r}."
        )
    ready = _ready(shape)
    if value not in ready:
        known = [*groups, *ready]
        close = get_close_matches(value, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown family {value!r}; the ready ones are {known}.{hint}")
    return ready[value]


def _fits(family: InterventionFamily, shape: Shape, kind: str | None) -> bool:
    try:
        family.check("node", shape, kind)
    except ValueError:
        return False
    return True


def _ready(shape: Shape) -> dict[str, InterventionFamily]:
    """All ready families, with the ranges for a shape, by name."""
    lengths = axis_lengths(shape)
    value, scale, both = ["value"], ["scale"], ["scale", "shift"]
    # Of each parameter low, high and neutral; which are relative, and open-ended.
    shifts, scales = (-3, 3, 0), (0, 3, 1)
    made = {
        "shift": (Shift, {"value": shifts}, value, value),
        "scale": (Scale, {"value": scales}, [], value),
        "affine": (
            _scale_and_shift,
            {"scale": scales, "shift": shifts},
            ["shift"],
            both,
        ),
        "noise": (Noise, {"scale": (0, 3, 0)}, scale, scale),
        "rotate": (Rotate, {"degrees": (-90, 90, 0)}, [], []),
    }
    for axis in ("width", "height", "length"):
        reach = lengths.get(axis, 4) / 4
        stretch, move = (partial(kind, axis=axis) for kind in (Stretch, Translate))
        made[f"stretch_{axis}"] = (stretch, {"factor": (0.5, 2, 1)}, [], [])
        made[f"translate_{axis}"] = (move, {"offset": (-reach, reach, 0)}, [], [])
    return {
        name: InterventionFamily(
            make,
            {k: ends for k, (*ends, _) in params.items()},
            {k: neutral for k, (*_, neutral) in params.items()},
            name,
            relative,
            open_ended,
        )
        for name, (make, params, relative, open_ended) in made.items()
    }
