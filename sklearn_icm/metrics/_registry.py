"""Ready scorers by name."""

from functools import partial

from ._consistency import make_consistency_scorer
from ._factor_scorers import MEASURES, make_identifiability_scorer

__all__ = ["get_scorer", "get_scorer_names"]

# Makers, since a scorer is changed by `set_score_request`; block_mcc needs an argument.
MAKERS = {
    measure: partial(make_identifiability_scorer, measure)
    for measure in MEASURES
    if measure != "block_mcc"
}
MAKERS["latent_consistency"] = make_consistency_scorer


def get_scorer_names():
    """Names that :func:`get_scorer` knows.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> "mcc" in get_scorer_names()
    True
    """
    return sorted(MAKERS)


def get_scorer(name):
    """Make a ready scorer from its name.

    Parameters
    ----------
    name : str or callable
        One of :func:`get_scorer_names`; a callable is returned as it is.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)``, higher is better; a new one with each call.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> get_scorer("mcc")
    make_identifiability_scorer('mcc')
    """
    if callable(name):
        return name
    if not isinstance(name, str) or name not in MAKERS:
        raise ValueError(
            f"name must be a callable or one of {get_scorer_names()}, got {name!r}. "
            "Scorers with arguments are made by make_extrapolation_scorer, "
            "make_agreement_scorer and make_identifiability_scorer."
        )
    return MAKERS[name]()
