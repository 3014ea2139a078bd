"""Tables that say what their numbers mean."""

from dataclasses import dataclass
from html import escape

import pandas as pd

__all__ = ["Report", "Verdict"]


@dataclass(frozen=True, repr=False)
class Report:
    """A table and the sentences that read it.

    Parameters
    ----------
    table_ : DataFrame
    sentences_ : Series of str
        By what they are about; `str` and `print` give them.
    """

    table_: pd.DataFrame
    sentences_: pd.Series

    def __repr__(self):
        return "\n".join(f"{name}: {text}" for name, text in self.sentences_.items())

    def _repr_html_(self):
        table = self.table_.to_html(float_format="{:.3g}".format, na_rep="")
        return table + "".join(
            f"<p>{escape(line)}</p>" for line in repr(self).split("\n")
        )


@dataclass(frozen=True, repr=False)
class Verdict(Report):
    """A report on a question, and how far its answer is to be trusted, from 0 to 1.

    Trust is NaN where nothing tells, as of a single fit.
    """

    trust_: float = float("nan")
