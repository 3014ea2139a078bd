import matplotlib.pyplot as plt
import pytest
from helpers import TABLE, small

from sklearn_icm.inspection import ICMPathDisplay
from sklearn_icm.model_selection import icm_path

WEIGHTS = [0, 0.1, 1]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def path():
    scorers = {"skill": lambda est, X, y: 0.5}
    return icm_path(small(), TABLE, WEIGHTS, scoring=scorers)


def test_lines_show_the_columns_of_the_table(path):
    display = ICMPathDisplay.from_path(path)
    names = ["score", "abs_log_rho", "anisotropy", "response", "skill"]
    assert list(display.lines_) == names
    for name, line in display.lines_.items():
        assert line.get_xdata() == pytest.approx(WEIGHTS)
        assert line.get_ydata() == pytest.approx(path.table[name])
    assert display.lines_["score"].axes is display.ax_
    assert display.lines_["skill"].axes is display.right_ax_
    assert display.ax_.get_xscale() == "symlog"
    display.figure_.canvas.draw()


def test_the_legend_covers_no_point_and_both_axes_say_what_they_are(path):
    display = ICMPathDisplay.from_path(path)
    display.figure_.canvas.draw()
    legend = display.right_ax_.get_legend().get_window_extent()
    assert not legend.overlaps(display.ax_.get_window_extent())
    assert display.right_ax_.get_ylabel()


def test_from_estimator_plots_the_path_into_given_axes():
    _, ax = plt.subplots()
    display = ICMPathDisplay.from_estimator(
        small(), TABLE, WEIGHTS, ax=ax, warm_start=False
    )
    assert display.ax_ is ax
    expected = icm_path(small(), TABLE, WEIGHTS, warm_start=False).table
    assert display.table.equals(expected)


def test_weight_zero_alone_and_no_score(path):
    table = path.table.iloc[:1].drop(columns="score")
    display = ICMPathDisplay(table).plot()
    assert "score" not in display.lines_
    assert display.ax_.get_xscale() == "linear"
    display.figure_.canvas.draw()
