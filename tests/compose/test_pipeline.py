import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.utils.estimator_checks import check_generator

X = np.random.RandomState(0).uniform(size=(40, 3)) * [1, 10, 100]


def pipeline(*steps, **params):
    model = VAEGenerator(
        hidden=(8,), n_latents=2, max_epochs=2, random_state=0, **params
    )
    return GenerativePipeline([*steps, ("vae", model)])


SCALE = ("scale", StandardScaler())


def test_samples_live_in_input_space():
    pipe = pipeline(SCALE).fit(X)
    rows = pipe.sample(200, random_state=0)
    assert (rows.min(0) >= X.min(0) - 1e-6).all()
    assert (rows.max(0) <= X.max(0) + 1e-6).all()
    inner = pipe["vae"].sample(200, random_state=0)
    assert np.allclose(rows, pipe["scale"].inverse_transform(inner))


def test_interventions_map_rows_only():
    pipe = pipeline(SCALE, bounds=None).fit(X)
    assert np.allclose(pipe.intervene({}, X=X), X)
    factual, changed = pipe.intervene({"data": 0.0}, X=X, return_factual=True)
    assert np.allclose(factual, X)
    # 0 in the units of the generator's node is the mean in input space.
    assert np.allclose(changed, X.mean(0))
    assert list(pipe.nodes_) == ["noise", "dense1", "data"]
    assert list(pipe.mechanisms_) == ["dense1", "data"]
    assert len(pipe.independence()) == 1


def test_score_transform_and_clone():
    pipe = pipeline(SCALE).fit(X)
    inner = pipe["vae"].score(pipe["scale"].transform(X))
    assert np.isclose(pipe.score(X), inner - np.log(pipe["scale"].scale_).sum())
    assert pipe.transform(X).shape == (40, 2)
    assert pipe.was_fitted_on(X)
    assert not pipe.was_fitted_on(X[:0])
    assert not clone(pipe).fit(X[::2]).was_fitted_on(X)


def test_fit_transform_sees_observational_rows_only():
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    pipe = pipeline(SCALE, observational="a")
    latents = pipe.fit_transform(X, labels)
    assert np.allclose(pipe["scale"].mean_, X[labels == "a"].mean(0))
    assert np.array_equal(latents, pipe.transform(X))


def test_images_stay_in_the_range_of_the_input():
    images = np.random.RandomState(0).uniform(size=(50, 16)) ** 4
    model = VAEGenerator((4, 4), hidden=(3,), max_epochs=2, random_state=0)
    pipe = GenerativePipeline([SCALE, ("vae", model)]).fit(images)
    rows = pipe.sample(200, random_state=0)
    assert rows.min() >= images.min()
    assert rows.max() <= images.max()


def test_data_frames_out():
    frame = pd.DataFrame(X, columns=list("abc"))
    pipe = pipeline(SCALE).set_output(transform="pandas").fit(frame)
    assert list(pipe.sample(3).columns) == list("abc")
    assert list(pipe.intervene({}, X=frame.iloc[4:6]).index) == [4, 5]


def test_passthrough_and_several_steps():
    pipe = pipeline(SCALE, ("none", "passthrough"), ("pca", PCA(2))).fit(X)
    assert pipe.sample(5).shape == (5, 3)
    assert pipeline().fit(X).sample(5).shape == (5, 3)


def test_transformers_see_observational_rows_only():
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    marked = np.where((labels == "b")[:, None], 1e6, X)
    pipe = pipeline(SCALE, observational="a").fit(marked, labels)
    assert np.allclose(pipe["scale"].mean_, X[labels == "a"].mean(0))
    frame = pd.DataFrame(marked, columns=list("abc"))
    routed = pipeline(SCALE, observational="a").fit(frame, environments=labels)
    assert np.allclose(routed["scale"].mean_, pipe["scale"].mean_)
    with pytest.raises(ValueError, match="observational='a' needs"):
        pipeline(SCALE, observational="a").fit(X)


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ([("norm", Normalizer())], r"'norm' \(Normalizer\) has no inverse_transform"),
        (
            [("scale", StandardScaler()), ("ols", LinearRegression())],
            "a generator, got",
        ),
    ],
)
def test_steps_that_cannot_be_inverted_are_named(steps, match):
    if steps[-1][0] != "ols":
        steps = [*steps, ("vae", VAEGenerator())]
    with pytest.raises(TypeError, match=match):
        GenerativePipeline(steps).fit(X, X[:, 0])


def test_pipelines_without_steps_or_of_classes_say_so():
    with pytest.raises(ValueError, match="The pipeline is empty"):
        GenerativePipeline([]).fit(X)
    with pytest.raises(TypeError, match="Expected an estimator instance"):
        pipeline(("scale", StandardScaler)).fit(X)


def test_logarithms_are_undone():
    log = FunctionTransformer(np.log1p, np.expm1, check_inverse=False)
    assert (pipeline(("log", log)).fit(X).sample(20) >= 0).all()


def mixed():
    rng = np.random.RandomState(0)
    n = 60
    return pd.DataFrame(
        {
            "age": rng.randint(18, 80, n),
            "income": rng.gamma(2.0, 1e4, n),
            "town": rng.choice(["Aarhus", "Bonn", "Cork"], n),
            "member": pd.Categorical(rng.choice(["no", "yes"], n)),
        }
    )


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(sparse_output=False),
        OneHotEncoder(sparse_output=False, drop="first"),
        OneHotEncoder(sparse_output=False, drop="if_binary", handle_unknown="ignore"),
        OrdinalEncoder(),
    ],
    ids=repr,
)
def test_mixed_columns_come_back_as_they_were(encoder):
    frame = mixed()
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(StandardScaler(), PCA(2)), ["age", "income"]),
            ("names", encoder, ["town", "member"]),
        ]
    )
    pipe = pipeline(("columns", columns)).fit(frame)
    for rows in (
        pipe.sample(50, random_state=0),
        pipe.intervene({"dense1": 0.0}, n_samples=50, random_state=0),
    ):
        assert list(rows.columns) == list(frame.columns)
        assert (rows.dtypes == frame.dtypes).all()
        assert set(rows["town"]) <= set(frame["town"])
        assert rows["age"].between(frame["age"].min(), frame["age"].max()).all()
        assert rows["income"].between(*frame["income"].agg(["min", "max"])).all()
    given = frame.iloc[5:9]
    same = pipe.intervene({}, X=given)
    pd.testing.assert_frame_equal(same, given)


def test_columns_out_of_order_and_passed_through():
    frame = mixed()[["age", "income"]].assign(height=np.linspace(1.5, 2.0, 60))
    shuffled = ColumnTransformer(
        [("last", StandardScaler(), [2]), ("first", StandardScaler(), ["age"])],
        remainder="passthrough",
    )
    for names in (["height"], slice(2, 3), np.array([False, False, True])):
        shuffled.transformers[0] = ("last", StandardScaler(), names)
        pipe = pipeline(("columns", shuffled), bounds=None).fit(frame)
        same = pipe.intervene({}, X=frame)
        assert np.allclose(same, frame)


def test_whole_numbers_stay_whole():
    counts = np.random.RandomState(0).poisson(5, size=(40, 3))
    rows = pipeline(SCALE).fit(counts).sample(30, random_state=0)
    assert rows.dtype == counts.dtype
    frame = pd.DataFrame({"count": counts[:, 0], "size": X[:, 0]})
    pipe = pipeline(SCALE).set_output(transform="pandas").fit(frame)
    assert (pipe.sample(4).dtypes == frame.dtypes).all()


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (
            ColumnTransformer([("a", StandardScaler(), ["age"])]),
            r"'columns' \(Col.* drops the columns \['income', 'town', 'member'\]",
        ),
        (
            ColumnTransformer([("a", "drop", ["age"])], remainder="passthrough"),
            "'columns__a' drops columns",
        ),
        (
            ColumnTransformer([("a", Normalizer(), ["age", "income"])]),
            r"'columns__a' \(Normalizer\) has no inverse_transform",
        ),
        (
            make_pipeline(StandardScaler(), Normalizer()),
            r"'columns__normalizer' \(Normalizer\) has no inverse_transform",
        ),
        (
            ColumnTransformer(
                [("a", SelectKBest(k=1), ["age", "income"])], remainder="passthrough"
            ),
            r"'columns__a' \(SelectKBest\) drops the columns \['age'\]",
        ),
        (
            make_column_transformer(
                (VarianceThreshold(1e6), ["income", "age"]), remainder="passthrough"
            ),
            r"'columns__variancethreshold'.*drops the columns \['age'\]",
        ),
        (
            make_column_transformer(
                (OneHotEncoder(min_frequency=30), ["town"]),
                remainder="passthrough",
            ),
            r"infrequent levels \['Aarhus', 'Bonn', 'Cork'\] of the column "
            "'town'.*Join",
        ),
        (
            make_column_transformer(
                (OrdinalEncoder(max_categories=2), ["town"]), remainder="passthrough"
            ),
            "of the column 'town'.*Join them before",
        ),
        (
            make_column_transformer(
                (OneHotEncoder(min_frequency=2, sparse_output=False), ["age"]),
                remainder="passthrough",
            ),
            r"infrequent levels \[.*\] of the column 'age'",
        ),
    ],
)
def test_columns_that_cannot_be_restored_are_named(step, match):
    pipe, labels = pipeline(("columns", step)), mixed()["income"] > 2e4
    with pytest.raises(TypeError, match=match):
        pipe.fit(mixed(), labels)
    # Nothing was trained.
    with pytest.raises(NotFittedError):
        pipe.sample()


def test_selectors_that_keep_every_column_work():
    rows = pipeline(("select", VarianceThreshold())).fit(X).sample(5)
    assert rows.shape == (5, 3)


def test_an_encoder_alone_works_with_frames_out():
    frame = mixed()[["town", "member"]].astype(str)
    encode = ("encode", OneHotEncoder(sparse_output=False))
    pipe = pipeline(encode).set_output(transform="pandas").fit(frame)
    rows = pipe.sample(20, random_state=0)
    assert list(rows.columns) == ["town", "member"]
    assert set(rows["town"]) <= set(frame["town"])


def test_a_column_may_be_named_by_a_numpy_integer():
    columns = ColumnTransformer(
        [("one", StandardScaler(), [np.int64(1)])], remainder="passthrough"
    )
    pipe = pipeline(("columns", columns), bounds=None).fit(X)
    assert np.allclose(pipe.intervene({}, X=X), X)


def test_nullable_integers_come_back():
    frame = pd.DataFrame({"count": pd.array([1, 5, 2, 9] * 10, dtype="Int64")})
    frame["size"] = X[:, 0]
    pipe = pipeline(SCALE).set_output(transform="pandas").fit(frame)
    rows = pipe.sample(5, random_state=0)
    assert (rows.dtypes == frame.dtypes).all()
    assert rows["count"].between(1, 9).all()


def test_independence_reads_rows_in_input_space():
    pipe = pipeline(SCALE).fit(X)
    inner = pipe["vae"].independence(pipe["scale"].transform(X))
    pd.testing.assert_frame_equal(pipe.independence(X), inner)
    pd.testing.assert_frame_equal(pipe.independence(X=X), inner)


@pytest.mark.parametrize("as_frame", [False, True])
def test_rare_truth_stays_rare(as_frame):
    truth = np.random.RandomState(0).rand(200, 3) < 0.1
    given = pd.DataFrame(truth, columns=list("abc")) if as_frame else truth
    pipe = pipeline(("scale", MinMaxScaler())).fit(given)
    rows = pipe.sample(200, random_state=0)
    assert type(rows) is type(given)
    assert (np.asarray(rows).dtype, np.asarray(rows).mean() < 0.4) == (bool, True)
    assert np.array_equal(pipe.intervene({}, X=given), given)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (FunctionTransformer(np.log1p), "'lossy'.*no inverse_func.*Give it one"),
        (SimpleImputer(), "'lossy'.*undo its imputation.*Impute before"),
        (SimpleImputer(add_indicator=True), "'lossy'.*Impute before the pipeline"),
    ],
    ids=["function", "imputer", "indicator"],
)
def test_steps_whose_inverse_inverts_nothing_are_refused(step, match):
    with pytest.raises(TypeError, match=match):
        pipeline(("lossy", step)).fit(X)


@pytest.mark.parametrize("bounds", ["data", None])
def test_what_a_step_loses_is_kept(bounds):
    pipe = pipeline(("pca", PCA(1)), bounds=bounds).fit(X)
    assert np.allclose(pipe.intervene({}, X=X), X, rtol=0, atol=1e-10)
    shorter = pipe["pca"].inverse_transform(pipe["pca"].transform(X))
    dropped = pipe.intervene({"data": 1.0}, X=X, residual="drop")
    assert np.ptp(pipe["pca"].transform(dropped)) < np.ptp(shorter)


def test_lists_are_rows_too():
    pipe = pipeline(SCALE).fit(X.tolist())
    changed = pipe.intervene({"noise": 0.0}, X=X[:3].tolist())
    assert np.array_equal(changed, pipe.intervene({"noise": 0.0}, X=X[:3]))


@pytest.mark.parametrize(
    "step", [StandardScaler(), PCA(2), "passthrough"], ids=["scale", "pca", "none"]
)
def test_generator_contract(step):
    # Without bounds, as those of the input may clip what a rotation makes of a value.
    pipe = pipeline(("step", step), bounds=None)
    check_generator(pipe.set_params(vae__random_state=None))
