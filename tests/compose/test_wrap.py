import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import TABLE
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.compose._wrap import in_input_space, rows_under
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import average_effect

CHANGE = {"data": Shift(0.5)}
FRAME = pd.DataFrame(TABLE, columns=["a", "b", "c", "d"])


def model():
    return FixedGenerator(bounds=None, random_state=0)


EXACT = {
    "scaler": make_pipeline(StandardScaler(), model()),
    "passthrough": make_pipeline("passthrough", model()),
    "rotation": make_pipeline(StandardScaler(), PCA(), model()),
    "pipeline in a pipeline": make_pipeline(
        StandardScaler(), make_pipeline(MinMaxScaler(), model())
    ),
    "pipeline as a step": make_pipeline(
        make_pipeline(StandardScaler(), MinMaxScaler()), model()
    ),
    "generator alone": make_pipeline(model()),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_plain_pipeline_answers_as_one_that_was_generative(name):
    X = FRAME if name == "scaler" else TABLE
    pipe = EXACT[name].fit(X)
    before = pickle.dumps(pipe)
    # The transformers see the same rows, so that the generators are the same.
    steps = pipe.steps
    while hasattr(steps[-1][1], "steps"):
        steps = [*steps[:-1], *steps[-1][1].steps]
    generative = GenerativePipeline(steps).fit(X) if len(steps) > 1 else model().fit(X)
    for query in ({"n_samples": 5, "random_state": 1}, {"X": X[:5]}):
        expected = np.asarray(generative.intervene(CHANGE, **query))
        assert rows_under(pipe, CHANGE, **query) == pytest.approx(expected, abs=1e-6)
    assert pickle.dumps(pipe) == before


def test_what_steps_lose_is_kept():
    pipe = make_pipeline(PCA(2), model()).fit(TABLE)
    assert rows_under(pipe, {}, TABLE) == pytest.approx(TABLE, abs=1e-6)


def test_columns_are_found_by_name():
    pipe = make_pipeline(StandardScaler(), model()).fit(FRAME)
    shuffled = FRAME[["d", "b", "a", "c"]]
    expected = rows_under(pipe, CHANGE, FRAME)
    assert rows_under(pipe, CHANGE, shuffled) == pytest.approx(expected)


def test_columns_of_a_kind_each_and_their_levels_come_back():
    X = FRAME.assign(group=np.where(FRAME["a"] > FRAME["a"].median(), "high", "low"))
    steps = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["group"]), remainder=StandardScaler()
    )
    pipe = make_pipeline(steps, model()).fit(X)
    rows = rows_under(pipe, {}, n_samples=9, random_state=0)
    assert set(rows[:, 4]) <= {"high", "low"}
    assert np.array_equal(rows_under(pipe, {}, X)[:, 4], X["group"])
    effect = average_effect(pipe, "data", 1.0, 0.0, lambda rows: rows[:, 4] == "low")
    assert np.isfinite(effect.effect)


def test_a_generator_and_a_generative_pipeline_are_themselves():
    generator = model().fit(TABLE)
    generative = GenerativePipeline([("scale", StandardScaler()), ("model", model())])
    for one in (generator, generative.fit(TABLE)):
        assert in_input_space(one) is one


def test_steps_without_a_way_back_are_named():
    pipe = make_pipeline(SimpleImputer(), model()).fit(TABLE)
    with pytest.raises(TypeError, match="'simpleimputer'.*cannot undo its imputation"):
        rows_under(pipe, {}, n_samples=2)
