import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import TABLE, small
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_icm.inspection import SearchDisplay
from sklearn_icm.model_selection import search_results

WEIGHTS = [1, 0, 0.1]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def dependence(est, X, y=None):
    """Mean distance of rho from independence."""
    return -np.abs(np.log(est.independence(random_state=0)["rho"])).mean()


def likelihood(est, X, y=None):
    return est.score(X)


SCORERS = {"dependence": dependence, "likelihood": likelihood}


@pytest.fixture(scope="module")
def search():
    grid = {"icm_weight": WEIGHTS}
    found = GridSearchCV(small(), grid, scoring=SCORERS, refit="likelihood", cv=2)
    return found.fit(TABLE)


def test_lines_show_the_results_in_the_order_of_the_parameter(search):
    display = SearchDisplay.from_search(search)
    table = search_results(search).sort_values("param_icm_weight")
    assert list(display.lines_) == ["likelihood", "dependence"]
    for name, line in display.lines_.items():
        assert line.get_xdata() == pytest.approx(sorted(WEIGHTS))
        assert line.get_ydata() == pytest.approx(table[f"mean_test_{name}"].to_numpy())
    assert display.lines_["likelihood"].axes is display.ax_
    assert display.lines_["dependence"].axes is display.right_ax_
    assert display.ax_.get_xscale() == "symlog"
    assert display.ax_.get_xlabel() == "icm_weight"
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend()
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["likelihood (left)", "dependence"]
    extent = legend.get_window_extent()
    assert not extent.overlaps(display.ax_.get_window_extent())


def test_one_scorer_is_drawn_into_given_axes(search):
    _, ax = plt.subplots()
    display = SearchDisplay.from_search(search, scorers=["dependence"], ax=ax)
    assert display.ax_ is ax
    assert display.right_ax_ is None
    assert display.ax_.get_ylabel() == "dependence"


@pytest.mark.parametrize(
    ("grid", "param", "ticks"),
    [
        ({"vae__icm_weight": [0, 1]}, "vae__icm_weight", None),
        ({"vae__activation": ["tanh", "relu"]}, "vae__activation", ["tanh", "relu"]),
        ({"vae__icm_weight": [0, 2], "vae__beta": [1.0]}, "vae__icm_weight", None),
    ],
)
def test_any_parameter_of_any_kind(grid, param, ticks):
    pipe = make_pipeline(MinMaxScaler(), small(max_epochs=1))
    pipe.steps[-1] = ("vae", pipe.steps[-1][1])
    found = GridSearchCV(pipe, grid, scoring=likelihood, cv=2).fit(TABLE)
    display = SearchDisplay.from_search(found)
    assert display.ax_.get_xlabel() == display.param == param
    assert display.ax_.get_xscale() == "linear"
    if ticks:
        assert [t.get_text() for t in display.ax_.get_xticklabels()] == ticks


def test_a_halving_search_shows_the_last_round_of_each():
    found = HalvingGridSearchCV(
        small(max_epochs=1), {"icm_weight": WEIGHTS}, scoring=likelihood, cv=2
    ).fit(TABLE)
    assert len(SearchDisplay.from_search(found).lines_["score"].get_xdata()) == 3


def test_a_strong_penalty_brings_independence():
    found = GridSearchCV(
        small(max_epochs=30, lr=1e-2),
        {"icm_weight": [0, 10, 100]},
        scoring=dependence,
        cv=[(np.arange(len(TABLE)),) * 2],
        refit=False,
    ).fit(TABLE)
    first, *others = -SearchDisplay.from_search(found).lines_["score"].get_ydata()
    assert all(value < first / 3 for value in others)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"param": "beta"}, r"varies \['icm_weight'\], got param='beta'"),
        ({"scorers": ["skill"]}, r"some of \['dependence', 'likelihood'\]"),
        ({"scorers": []}, "must be some of"),
    ],
)
def test_bad_input(search, params, match):
    with pytest.raises(ValueError, match=match):
        SearchDisplay.from_search(search, **params)


def test_two_parameters_make_no_line():
    grid = {"icm_weight": [0, 1], "beta": [0.1, 1.0]}
    found = GridSearchCV(small(max_epochs=1), grid, scoring=likelihood, cv=2).fit(TABLE)
    with pytest.raises(ValueError, match="the one parameter that it varies"):
        SearchDisplay.from_search(found, param="beta")
