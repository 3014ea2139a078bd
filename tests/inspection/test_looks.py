"""Laws of all displays: nothing is cut off or hidden, and axes say what they show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_icm.compose._wrap import what_is_counted
from sklearn_icm.inspection import (
    ExtrapolationDisplay,
    GraphInterventionDisplay,
    IndependenceDisplay,
    InterventionDisplay,
    NodeTraversalDisplay,
    SamplesDisplay,
    SearchDisplay,
    TrainingDisplay,
)

RNG = np.random.RandomState(0)
PAIRS = pd.DataFrame(
    {
        "pair": ["a node with a long name -> data", "b -> c"],
        "power_change": [-0.5, 0.1],
        "low": [-0.2, -0.1],
        "high": [0.2, 40.0],
    }
)
NOISE = pd.DataFrame(
    {
        "mechanism": ["blood pressure, systolic", "dose"],
        "against": ["parents", "noise"],
        "dependence": [1e-4, 3e-3],
        "p_value": [0.2, 1e-3],
    }
)
TERMS = ["loss", "reconstruction", "kl", "valid_loss", "valid_kl", "penalty"]
SKILLS = pd.DataFrame(
    {
        "skill": [0.4, -2.0],
        "low": [0.3, -2.5],
        "high": [0.5, -1.5],
        "ceiling": [0.9, 0.9],
        "is_shifted": True,
        "best_baseline": "pixels",
        "pixels": [0.6, 0.1],
    },
    index=["a long name of an environment", "b"],
)
SCORES = pd.DataFrame(
    {
        "param_icm_weight": [0.0, 0.01, 1.0, 1000.0],
        **{
            f"{k}_test_{s}": RNG.rand(4) for k in ("mean", "se") for s in ("skill", "d")
        },
    }
)
GRIDS = {
    "wide images": {"data_shape": (4, 12), "rows": RNG.rand(2, 8, 48)},
    "colour": {"data_shape": (5, 5, 3), "rows": RNG.rand(3, 2, 75)},
    "signals": {
        "data_shape": (6, 2),
        "data_kind": "signal",
        "rows": RNG.rand(2, 3, 12),
    },
    "tall images": {"data_shape": (12, 4), "rows": RNG.rand(2, 12, 48)},
}
DISPLAYS = {
    "independence": IndependenceDisplay({"decoder": PAIRS, "encoder": PAIRS}),
    "independence of noise": IndependenceDisplay({"decoder": NOISE}),
    "training": TrainingDisplay(pd.DataFrame(RNG.rand(5, 6), columns=TERMS)),
    "extrapolation": ExtrapolationDisplay({"model": SKILLS, "other": SKILLS}),
    "search": SearchDisplay(SCORES, "icm_weight", ["skill", "d"]),
    "graph": GraphInterventionDisplay(
        {"blood pressure, systolic": [], "b": [], "time in hospital": ["b"]},
        {"blood pressure, systolic": 0.0, "b": 0.1, "time in hospital": 1.0},
        ["b"],
        {
            "blood pressure, systolic": (0.0, 0.0),
            "b": (0.123, 0.456),
            "time in hospital": (0.456, 1.23),
        },
        what_is_counted("", 20),
    ),
    **{
        name: kind(
            **grid,
            labels=[f"a label {k}" for k in range(len(grid["rows"]))],
            title="A title that says what is seen",
        )
        for (name, grid), kind in zip(
            GRIDS.items(),
            (SamplesDisplay, InterventionDisplay, NodeTraversalDisplay, SamplesDisplay),
            strict=True,
        )
    },
}


@pytest.fixture(params=DISPLAYS.values(), ids=DISPLAYS, autouse=True)
def display(request):
    yield request.param.plot()
    plt.close("all")


def drawn(figure):
    figure.canvas.draw()
    return figure.canvas.get_renderer()


def test_nothing_is_cut_off(display):
    box = display.figure_.get_tightbbox(drawn(display.figure_))
    width, height = display.figure_.get_size_inches()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02


def test_legends_hide_no_values(display):
    renderer = drawn(display.figure_)
    legend = display.ax_.get_legend()
    if legend is not None:
        box, axes = legend.get_window_extent(renderer), display.ax_.bbox
        assert box.y0 > axes.y1 - 1 or box.y1 < axes.y0 + 1
        assert all(not t.get_text().startswith("_") for t in legend.get_texts())


def test_axes_and_displays_are_named(display):
    legend = display.ax_.get_legend()
    heading = legend and legend.get_title().get_text()
    assert display.ax_.get_title() or heading
    if display.ax_.axison and display.ax_.get_xticks().size > 2:
        assert display.ax_.get_xlabel()


def test_labels_of_an_axis_do_not_overlap(display):
    renderer = drawn(display.figure_)
    axes = (display.ax_.xaxis, display.ax_.yaxis) if display.ax_.axison else ()
    for axis in axes:
        low, high = axis.get_view_interval()
        boxes = [
            tick.label1.get_window_extent(renderer)
            for tick in axis.get_major_ticks()
            if min(low, high) <= tick.get_loc() <= max(low, high)
            and tick.label1.get_visible()
        ]
        for before, after in zip(boxes, boxes[1:], strict=False):
            assert not before.overlaps(after)
