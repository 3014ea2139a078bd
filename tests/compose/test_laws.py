"""What holds for every verb of a pipeline, behind every kind of step."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.exceptions import FitDivergedError
from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.rows._frames import as_frame, as_polars

RNG = np.random.RandomState(0)
NUMBERS = pd.DataFrame(
    np.exp(RNG.randn(40, 3)) * [1, 50, 1000], columns=["size", "mass", "cost"]
)
LEVELS = NUMBERS.assign(town=RNG.choice(["Bonn", "Cork", "Oslo"], 40))
LOG = FunctionTransformer(np.log, np.exp, feature_names_out="one-to-one")

STEPS = {
    "nothing": "passthrough",
    "scaler": StandardScaler(),
    "pca": PCA(2),
    "log": LOG,
    "by name": make_column_transformer(
        (StandardScaler(), ["cost", "size"]), remainder="passthrough"
    ),
    "by place": ColumnTransformer(
        [("last", StandardScaler(), [-1]), ("rest", make_pipeline(LOG, PCA(2)), [0, 1])]
    ),
    "by type": make_column_transformer(
        (StandardScaler(), lambda X: list(X.columns[:2])), remainder=LOG
    ),
}


def small(**params):
    return VAEGenerator(
        n_latents=2, hidden=(4,), max_epochs=1, random_state=0, **params
    )


def pipeline(step, model=None):
    return GenerativePipeline([("step", step), ("model", model or small())])


@pytest.fixture(scope="module", params=STEPS, ids=str)
def fitted(request):
    return pipeline(STEPS[request.param]).fit(NUMBERS)


VERBS = {
    "intervene": lambda pipe, X: pipe.intervene({"dense1": 0.5}, X=X),
    "intervene, dropped": lambda pipe, X: pipe.intervene(
        {"dense1": 0.5}, X=X, residual="drop"
    ),
    "intervene, pairs": lambda pipe, X: np.hstack(
        pipe.intervene({"noise": 0.0}, X=X, return_factual=True)
    ),
    "abduct": lambda pipe, X: pipe.abduct(X).noise,
    "node_values": lambda pipe, X: pipe.node_values(X)["dense1"],
    "transform": lambda pipe, X: pipe.transform(X),
    "independence": lambda pipe, X: pipe.independence(X, measure="activation")["rho"],
    "was_fitted_on": lambda pipe, X: pipe.was_fitted_on(X),
    "hybridise": lambda pipe, X: pipe.hybridise(X[:20], X[20:], "dense1", [0]),
    "influence_map": lambda pipe, X: pipe.influence_map("dense1", [0], X),
    "support": lambda pipe, X: pipe.support({"dense1": 0.5}, X).table_["distance"],
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_columns_are_found_by_name(fitted, verb):
    known = np.asarray(verb(fitted, NUMBERS))
    turned = NUMBERS[["cost", "size", "mass"]]
    beside = turned.assign(note="text")
    beside.insert(0, "id", range(1000, 1040))
    for X in (turned, beside):
        assert np.array_equal(np.asarray(verb(fitted, X)), known)


def test_columns_that_are_missing_are_named(fitted):
    twice = pd.concat([NUMBERS, NUMBERS[["mass"]]], axis=1)
    for verb in VERBS.values():
        with pytest.raises(ValueError, match=r"not so \['mass'\]; its columns are"):
            verb(fitted, NUMBERS.drop(columns="mass"))
        with pytest.raises(ValueError, match=r"once, but not so \['mass'\]"):
            verb(fitted, twice)
    with pytest.raises(ValueError, match="has 2 features, but .* expecting 3 features"):
        fitted.intervene({}, X=NUMBERS.to_numpy()[:, :2])


def test_columns_may_be_named_by_numbers():
    frame = pd.DataFrame(NUMBERS.to_numpy())
    pipe = pipeline(StandardScaler()).fit(frame)
    known = pipe.intervene({"dense1": 0.5}, X=frame)
    assert np.array_equal(pipe.intervene({"dense1": 0.5}, X=frame[[2, 0, 1]]), known)


def test_names_and_numbers_of_columns_are_those_of_the_input(fitted):
    assert fitted.n_features_in_ == 3
    assert list(fitted.feature_names_in_) == list(NUMBERS)
    of_arrays = pipeline("passthrough").fit(NUMBERS.to_numpy())
    assert not hasattr(of_arrays, "feature_names_in_")
    assert not hasattr(pipeline("passthrough"), "n_features_in_")


def test_the_columns_of_a_fit_have_unique_names():
    twice = pd.concat([NUMBERS, NUMBERS[["mass"]]], axis=1)
    with pytest.raises(ValueError, match=r"need unique names, got twice \['mass'\]"):
        pipeline(StandardScaler()).fit(twice)


BESIDE = {
    "string": lambda town: town,
    "category": lambda town: town.astype("category"),
    "bool": lambda town: town == "Bonn",
    "Int64": lambda town: (town == "Bonn").astype("Int64"),
    "boolean": lambda town: (town == "Bonn").astype("boolean"),
}


@pytest.mark.parametrize("container", ["default", "pandas"])
@pytest.mark.parametrize("beside", BESIDE.values(), ids=list(BESIDE))
@pytest.mark.parametrize("step", ["log", "ordinal", "scaled"])
def test_one_column_is_changed_beside_others_of_any_type(step, beside, container):
    frame = LEVELS.assign(town=beside(LEVELS["town"]))
    columns = ["cost", "size"]
    if step == "ordinal":
        columns = ["kind"]
        frame.insert(0, "kind", LEVELS["town"])
    part = {"log": LOG, "ordinal": OrdinalEncoder(), "scaled": StandardScaler()}[step]
    change = make_column_transformer(
        (part, columns), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform=container)
    # In an array only a position says what is a level.
    levels = "from_dtype" if container == "pandas" else [frame.shape[1] - 1]
    model = GraphGenerator(categorical_features=levels, max_epochs=1, random_state=0)
    pipe = pipeline(change, model).fit(frame)
    rows, same = pipe.sample(5), pipe.intervene({}, X=frame[:4])
    if isinstance(rows, np.ndarray):
        assert set(rows[:, -1]) <= {0, 1}
        assert np.allclose(same, frame[:4].to_numpy(dtype=float))
    else:
        assert (rows.dtypes == frame.dtypes).all()
        pd.testing.assert_frame_equal(same, frame[:4], check_exact=False)


@pytest.mark.parametrize("missing", [np.nan, pd.NA], ids=repr)
def test_a_missing_value_takes_no_range_away(missing):
    frame = NUMBERS[["size", "mass"]].copy()
    if missing is pd.NA:
        frame["mass"] = frame["mass"].round().astype("Int64")
    frame.loc[3, "mass"] = missing
    model = GraphGenerator(
        missing="available", bounds="data", max_epochs=1, random_state=0
    )
    scale = StandardScaler().set_output(transform="pandas")
    pipe = pipeline(scale, model).fit(frame)
    low, high = (v.to_numpy(dtype=float) for v in (frame.min(), frame.max()))
    for rows in (pipe.sample(50), pipe.intervene({"size": 1.0}, X=frame[5:])):
        assert ((low <= rows.min(0)) & (rows.max(0) <= high)).all()


INTEGERS = ["uint8", "int8", "uint32", "int32", "uint64", "int64", "Int8", "UInt32"]


@pytest.mark.parametrize("is_mixed", [False, True], ids=["numbers", "mixed"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_never_wrap(dtype, is_mixed):
    limits = np.iinfo(dtype.lower())
    frame = pd.DataFrame({"n": [limits.min, limits.max] * 20}).astype(dtype)
    frame["kind"] = ["a", "b"] * 20 if is_mixed else frame["n"]
    encode = make_column_transformer(
        (StandardScaler(), ["n"]),
        ("passthrough" if not is_mixed else OrdinalEncoder(), ["kind"]),
    )
    pipe = pipeline(encode, small(bounds=None)).fit(frame)
    with pytest.warns(
        UserWarning, match=r"\['n'.*hold integers.*were clipped"
    ) as found:
        rows = pipe.intervene({"data": 100.0}, n_samples=4)
    assert len(found) == 1
    first = rows["n"] if is_mixed else rows[:, 0]
    # All but the last digits of float64.
    assert (np.abs(first.astype(float) - float(limits.max)) <= limits.max / 2**52).all()
    if is_mixed or dtype.islower():
        assert first.dtype == dtype


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_that_no_row_has_are_refused_by_column():
    root = FunctionTransformer(np.square, np.sqrt, check_inverse=False)
    for step, value in ((root, -1.0), (LOG, 1e4)):
        pipe = pipeline(step, small(bounds=None)).fit(NUMBERS)
        with pytest.raises(ValueError, match=r"\['size', 'mass', .*bounds='data'"):
            pipe.intervene({"data": value}, n_samples=2)
    rows = pipeline(root, small()).fit(NUMBERS).sample(50)
    assert np.isfinite(rows).all()


def test_differences_of_unsigned_rows_do_not_wrap():
    counts = RNG.poisson(3, size=(40, 3)).astype("uint8")
    pipe = pipeline(StandardScaler(), small()).fit(counts)
    influence = pipe.influence_map("dense1", range(4), counts)
    assert (influence <= np.ptp(counts, axis=0)).all()


def test_bounds_behind_a_step_are_those_of_the_data():
    with pytest.raises(
        ValueError, match=r"bounds=\(0, 16\) of the step 'model'.*'data'"
    ):
        pipeline(StandardScaler(), small(bounds=(0, 16))).fit(NUMBERS)
    rows = pipeline("passthrough", small(bounds=(1, 16))).fit(NUMBERS).sample(50)
    assert (rows.min(), rows.max()) == (1, 16)


def broken(kind):
    if kind == "missing":
        return {}, NUMBERS.replace(NUMBERS.iloc[0, 0], np.nan)
    if kind == "divergence":
        return {"model__lr": 1e30, "model__batch_size": 4}, NUMBERS * 100
    return {"model__max_epochs": -1}, NUMBERS * 100


@pytest.mark.parametrize("memory", [False, True], ids=["", "memory"])
@pytest.mark.parametrize("step", [StandardScaler(), make_pipeline(StandardScaler())])
@pytest.mark.parametrize("kind", ["parameter", "missing", "divergence"])
def test_a_failed_fit_changes_nothing(kind, step, memory, tmp_path):
    params, X = broken(kind)
    pipe = pipeline(clone(step))
    pipe.set_params(memory=str(tmp_path) if memory else None)
    with pytest.raises((ValueError, FitDivergedError)):
        clone(pipe).set_params(**params).fit(X)
    first = clone(pipe).set_params(**params)
    with pytest.raises((ValueError, FitDivergedError)):
        first.fit(X)
    with pytest.raises(NotFittedError):
        check_is_fitted(first["step"])
    pipe.fit(NUMBERS)
    known = pipe.sample(5, random_state=0)
    with pytest.raises((ValueError, FitDivergedError)):
        pipe.set_params(**params).fit(X)
    assert np.array_equal(pipe.sample(5, random_state=0), known)


def test_a_model_that_diverged_keeps_its_own_steps():
    calls = []

    class Spoil(Callback):
        def on_epoch_begin(self, net, **kwargs):
            calls.append(net)
            if len(calls) > 1:
                for parameter in net.module_.parameters():
                    parameter.data.fill_(np.nan)

    model = small(callbacks=[Spoil()]).set_params(max_epochs=3)
    pipe = pipeline(StandardScaler(), model)
    with pytest.raises(FitDivergedError, match="model of epoch 1 is kept"):
        pipe.fit(NUMBERS)
    rows = pipe.sample(100, random_state=0)
    assert (rows >= NUMBERS.min().to_numpy() * (1 - 1e-9)).all()


def test_latents_are_decoded_to_the_input():
    counts = RNG.poisson(3, size=(40, 3))
    pipe = pipeline(StandardScaler()).fit(counts)
    rows = pipe.inverse_transform(pipe.transform(counts))
    assert rows.dtype == counts.dtype
    assert ((counts.min(0) <= rows) & (rows <= counts.max(0))).all()


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_levels_that_an_encoder_ignores_are_refused(encoder):
    step = make_column_transformer((encoder, ["town"]), remainder="passthrough")
    pipe = pipeline(step).fit(LEVELS)
    strange = LEVELS.assign(town=["Rome", *LEVELS["town"][1:]])
    with pytest.raises(ValueError, match=r"levels \['Rome'\] of the column 'town'"):
        pipe.intervene({"dense1": 0.0}, X=strange)
    with pytest.raises(ValueError, match=r"levels \['Rome'\] of the column 'town'"):
        pipe.intervene({"dense1": 0.0}, X=strange, residual="drop")
    pipe.set_params(
        step__transformers=[
            (
                "encode",
                clone(encoder).set_params(categories=[["Bonn", "Cork"]]),
                ["town"],
            )
        ]
    )
    known = pipe.sample(3, random_state=0)
    with pytest.raises(
        ValueError, match=r"levels \['Oslo'\].*all levels as categories"
    ):
        pipe.fit(LEVELS)
    assert pipe.sample(3, random_state=0).equals(known)


def test_missing_levels_are_levels_of_an_encoder_that_takes_them():
    frame = LEVELS.copy()
    frame.loc[3, "town"] = np.nan
    step = make_column_transformer(
        (OrdinalEncoder(encoded_missing_value=3), ["town"]), remainder="passthrough"
    )
    same = pipeline(step).fit(frame).intervene({}, X=frame)
    pd.testing.assert_frame_equal(same, frame, check_exact=False)


def test_arrays_of_numbers_and_levels_come_back_as_such():
    given = LEVELS.to_numpy()
    step = ColumnTransformer(
        [("town", OrdinalEncoder(), [3]), ("numbers", StandardScaler(), slice(0, 3))]
    )
    pipe = pipeline(step).fit(given)
    rows = pipe.sample(5)
    assert (type(rows), rows.dtype) == (np.ndarray, object)
    assert set(rows[:, 3]) <= set(LEVELS["town"])
    same = pipe.intervene({}, X=given)
    assert np.array_equal(same[:, 3], given[:, 3])
    assert np.allclose(same[:, :3].astype(float), NUMBERS)


@pytest.fixture(scope="module")
def polars():
    return pytest.importorskip("polars")


def of_polars(polars):
    """A frame of every type that a column of a table may have."""
    return polars.DataFrame(
        {
            "size": NUMBERS["size"].to_numpy(),
            "mass": NUMBERS["mass"].to_numpy().astype("float32"),
            "count": RNG.poisson(9, 40).astype("uint16"),
            "town": LEVELS["town"].tolist(),
            "coast": polars.Series((LEVELS["town"] != "Bonn").tolist()),
            "kind": polars.Series(["a", "b"] * 20, dtype=polars.Categorical),
            "grade": polars.Series(["lo", "hi"] * 20, dtype=polars.Enum(["lo", "hi"])),
        }
    )


@pytest.mark.parametrize("step", ["nothing", "scaler", "log", "by name", "by type"])
def test_polars_frames_are_those_of_pandas(polars, step):
    frame = polars.DataFrame({n: NUMBERS[n].to_numpy() for n in NUMBERS})
    pipe = pipeline(STEPS[step]).fit(frame)
    known = pipeline(clone(STEPS[step]) if step != "nothing" else "passthrough")
    known.fit(NUMBERS)
    turned = frame.select("cost", "mass", "size")
    for name, verb in VERBS.items():
        for X in (frame, turned):
            assert np.allclose(verb(pipe, X), verb(known, NUMBERS)), name


@pytest.mark.parametrize("container", ["default", "polars", "pandas"])
def test_mixed_polars_frames_come_back(polars, container):
    frame = of_polars(polars)
    encode = make_column_transformer(
        (StandardScaler(), ["size", "mass", "count"]),
        (OrdinalEncoder(), ["town", "kind", "grade"]),
        remainder="passthrough",
    )
    pipe = pipeline(encode).set_output(transform=container).fit(frame)
    rows = pipe.sample(5)
    same = pipe.intervene({}, X=frame[3:7])
    assert set(rows["town"]) <= set(frame["town"])
    if container == "pandas":
        assert isinstance(rows, pd.DataFrame)
        same = polars.DataFrame({n: same[n].tolist() for n in same})
        assert same.rows() == frame[3:7].rows()
    else:
        assert rows.schema == frame.schema
        assert same.equals(frame[3:7])


def test_labels_select_rows_of_polars(polars):
    frame = polars.DataFrame({n: NUMBERS[n].to_numpy() for n in NUMBERS})
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    pipe = pipeline(StandardScaler(), small(observational="a")).fit(frame, labels)
    assert np.allclose(pipe["step"].mean_, NUMBERS[::2].mean())


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "Float32", "boolean"])
def test_what_is_missing_stays_missing_in_polars(polars, dtype):
    values = pd.Series([1, 0, None, 1] * 10, dtype=dtype)
    frame = as_polars(pd.DataFrame({"n": values, "size": range(40)}))
    assert frame["n"].to_list() == [1, 0, None, 1] * 10
    again = as_frame(frame)["n"]
    assert (again.isna() == values.isna()).all()
    assert pd.api.types.is_numeric_dtype(again)


@pytest.mark.parametrize("given", ["array", "integers", "numbers", "mixed", "polars"])
def test_skops_round_trip(given):
    skops = pytest.importorskip("skops.io")
    step = OrdinalEncoder() if given in {"mixed", "polars"} else StandardScaler()
    columns = ["town", "kind"] if given in {"mixed", "polars"} else [0, 1]
    step = make_column_transformer((step, columns), remainder="passthrough")
    X = {
        "array": NUMBERS.to_numpy(),
        "integers": RNG.poisson(9, (40, 3)),
        "numbers": NUMBERS.astype({"size": "float32"}),
        "mixed": LEVELS.assign(
            kind=pd.Categorical(LEVELS["town"], ["Oslo", "Cork", "Bonn"], ordered=True),
            count=pd.array(range(40), dtype="Int64"),
        ),
    }
    if given == "polars":
        frame = of_polars(pytest.importorskip("polars")).drop("coast", "grade")
    else:
        frame = X[given]
    pipe = pipeline(step).fit(frame)
    data = skops.dumps(pipe)
    loaded = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    for rows, known in zip(
        (loaded.sample(5, random_state=0), loaded.intervene({}, X=frame[:3])),
        (pipe.sample(5, random_state=0), pipe.intervene({}, X=frame[:3])),
        strict=True,
    ):
        assert type(rows) is type(known)
        if isinstance(rows, pd.DataFrame):
            pd.testing.assert_frame_equal(rows, known)
        else:
            assert np.array_equal(rows, known)
