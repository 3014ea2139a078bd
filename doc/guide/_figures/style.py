"""What the figures share: a style, colours that the colour-blind tell apart, sizes."""

import matplotlib as mpl
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
STYLE = {
    "figure.facecolor": "white",
    "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, PINK]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "font.size": 9,
}


def axes(n_columns=1, width=6.2, height=3.2, **kwargs):
    """Make a figure of some axes side by side."""
    size = (width, height)
    return plt.subplots(1, n_columns, figsize=size, layout="constrained", **kwargs)
