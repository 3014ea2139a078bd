"""Numbers in words that are true to them."""

__all__ = ["part_of"]


def part_of(part, verb="saves", worse=None):
    """Say what a part does: "saves 12% of", or for less than nothing "adds 12% to".

    Parameters
    ----------
    part : float
        At most 1, but for what chance adds.
    verb : str
    worse : str, optional
        Verb of a negative part; without it the part is "none of".

    Returns
    -------
    str
    """
    if part == 0 or (part < 0 and worse is None):
        return f"{verb} none of"
    size = min(part, 1) if part > 0 else -part
    amount = f"{size:.0%}" if size >= 0.005 else "less than 1%"
    return f"{verb} {amount} of" if part > 0 else f"{worse} {amount} to"
