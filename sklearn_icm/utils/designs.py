"""Labels of perturbations as doses, and what a design of them determines."""

import numpy as np

__all__ = ["design_matrix", "doses_of", "names_of", "span_weights"]

# Of the entries of a design: what rounding leaves of a part outside its span.
ROUNDING = 1e-9


def doses_of(label):
    """Doses by perturbation of a label such as "A", "A+B" or "A:0.5+B".

    Raises ValueError for a label that cannot be read so, or that names one twice.
    """
    found = {}
    for part in str(label).split("+"):
        name, colon, dose = part.strip().partition(":")
        try:
            size = float(dose) if colon else 1.0
        except ValueError:
            size = np.nan
        if not name.strip() or not np.isfinite(size):
            raise ValueError(
                f"The label {label!r} must be a perturbation, as 'A', one with a dose, "
                "as 'A:0.5', or several joined by '+', as 'A+B:2'. Other labels need "
                "a design, a DataFrame of doses with a row per label."
            )
        if name.strip() in found:
            raise ValueError(
                f"The label {label!r} names {name.strip()!r} twice: give its dose, as "
                f"'{name.strip()}:2'."
            )
        found[name.strip()] = size
    return found


def names_of(labels):
    """Perturbations that labels name, in the order of their first occurrence."""
    return list(dict.fromkeys(name for label in labels for name in doses_of(label)))


def design_matrix(labels, names):
    """Doses of every perturbation, (n_labels, n_names).

    Raises ValueError for a label with a perturbation that is not among the names.
    """
    doses = [doses_of(label) for label in labels]
    for label, own in zip(labels, doses, strict=True):
        unknown = [name for name in own if name not in names]
        if unknown:
            raise ValueError(
                f"The label {label!r} names the perturbation {unknown[0]!r}, but there "
                f"are only {list(names)}."
            )
    return np.array([[own.get(name, 0.0) for name in names] for own in doses])


def span_weights(design, query):
    """Weights of seen rows, adding to 1, that make a query, or None.

    So effects that add and grow with the dose are the same sum of those that were seen,
    whatever they are.

    Parameters
    ----------
    design : ndarray of shape (n_labels, n_names)
        Doses of what was seen; of a control all 0.
    query : ndarray of shape (n_names,)

    Returns
    -------
    ndarray of shape (n_labels,) or None
        The smallest such weights.

    References
    ----------
    von Kügelgen et al. (2025), *Representation learning for distributional perturbation
    extrapolation*, arXiv 2504.18522: identified is what lies in the span.

    Examples
    --------
    >>> seen = np.array([[0.0, 0], [1, 0], [0, 1]])
    >>> span_weights(seen, np.array([1.0, 1])).round(6).tolist()
    [-1.0, 1.0, 1.0]
    """
    # Columns of a size, so that rounding is of the same size in all.
    sizes = np.abs(np.vstack([design, query])).max(axis=0)
    sizes[sizes == 0] = 1.0
    rows = np.column_stack([np.ones(len(design)), design / sizes])
    asked = np.concatenate([[1.0], query / sizes])
    weights = np.linalg.lstsq(rows.T, asked, rcond=ROUNDING)[0]
    left = np.abs(rows.T @ weights - asked).max()
    return weights if left <= ROUNDING * max(1.0, np.abs(weights).max()) else None
