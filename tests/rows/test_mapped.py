"""Arrays that stay in a file are fitted like arrays in memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from helpers import small
from sklearn.base import clone
from torch import nn

from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.rows import _batches as mapped
from sklearn_icm.rows._batches import MappedRows, Rows, batch_sizes, is_mapped


def in_file(tmp_path, X, mode="r"):
    path = tmp_path / "rows.dat"
    file = np.memmap(path, dtype=X.dtype, mode="w+", shape=X.shape)
    file[:] = X
    file.flush()
    return np.memmap(path, dtype=X.dtype, mode=mode, shape=X.shape)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(mapped, "BLOCK_BYTES", 2048)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_same_model_as_in_memory(tmp_path, small_blocks, dtype, early_stopping):
    X = np.random.RandomState(0).randn(150, 4).astype(dtype)
    options = {"max_epochs": 3, "batch_size": 16, "early_stopping": early_stopping}
    ours = small(**options).fit(X)
    expected = ours.sample(20, random_state=1)
    ours.fit(in_file(tmp_path, X))
    assert np.array_equal(ours.sample(20, random_state=1), expected)


def test_continuing_and_refusals_work_from_a_file(tmp_path, small_blocks):
    X = np.random.RandomState(0).uniform(size=(60, 4))
    rows = in_file(tmp_path, X)
    model = VAEGenerator(
        likelihood="bernoulli", hidden=(8,), max_epochs=1, random_state=0
    )
    model.fit(rows).partial_fit(rows)
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        model.fit(in_file(tmp_path, X + 1))


def test_rows_are_found_in_any_order(tmp_path, small_blocks):
    X = np.random.RandomState(0).randn(101, 3)
    rows = MappedRows(in_file(tmp_path, X), lambda x: x)
    order = torch.randperm(101, generator=torch.Generator().manual_seed(0))
    found = torch.cat(list(rows.batches(order, 7))).numpy()
    assert np.array_equal(found, X[order.numpy()])
    half = rows[order[:50]]
    assert np.array_equal(torch.cat(list(half.split(9))).numpy(), X[order[:50]])
    assert half.float().dtype == np.float32


def test_views_of_files_are_recognised(tmp_path):
    rows = in_file(tmp_path, np.zeros((4, 2)))
    assert is_mapped(rows)
    assert is_mapped(np.asarray(rows)[1:])
    assert not is_mapped(np.zeros((4, 2)))


def test_memory_does_not_grow_with_the_rows_of_a_file(tmp_path, small_blocks):
    model = VAEGenerator(
        hidden=(4,),
        n_latents=2,
        max_epochs=1,
        batch_size=4096,
        random_state=0,
        latent_density="gaussian",
    )

    def peak(n):
        rows = in_file(tmp_path, np.ones((n, 40), np.float32))
        tracemalloc.start()
        model.fit(rows)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10_000)
    assert peak(80_000) < 1.5 * peak(20_000)


def with_batchnorm(n, shape):
    hidden = nn.Sequential(nn.Linear(n, 8), nn.BatchNorm1d(8), nn.ReLU())
    return MechanismGraph(
        {"noise": (n,)},
        {"hidden": ("noise", hidden), "data": ("hidden", nn.Linear(8, *shape))},
    )


@pytest.mark.parametrize("n_rows", [2, 8, 9, 10, 17, 33])
def test_no_batch_is_a_single_row(n_rows, tmp_path, small_blocks):
    model = small(decoder=with_batchnorm, batch_size=8)
    X = np.random.RandomState(0).rand(n_rows, 3)
    drawn = clone(model).fit(X).partial_fit(X).sample(5, 0)
    again = clone(model).fit(in_file(tmp_path, X)).partial_fit(X).sample(5, 0)
    assert np.array_equal(again, drawn)
    if n_rows > 2:
        clone(model).set_params(validation_fraction=0.01).fit(X)


@pytest.mark.parametrize("n_rows", [1, 7, 8, 9, 16, 17, 100])
def test_batches_hold_every_row_once(n_rows):
    sizes = batch_sizes(n_rows, 8)
    assert sum(sizes) == n_rows
    assert min(sizes) > 1 or n_rows == 1
    assert set(sizes[:-1]) <= {8}
    assert batch_sizes(n_rows, 1) == [1] * n_rows


def test_missing_values_of_a_file_are_left_out_of_the_units(tmp_path):
    X = np.random.RandomState(0).randn(80, 2) + [5.0, -5.0]
    X[::7, 1] = np.nan
    model = GraphGenerator(
        {"x0": [], "x1": ["x0"]}, missing="available", max_epochs=1, random_state=0
    )
    drawn = clone(model).fit(X).sample(5, 0)
    assert np.array_equal(clone(model).fit(in_file(tmp_path, X)).sample(5, 0), drawn)


def test_what_stands_beside_rows_goes_with_them(tmp_path, small_blocks):
    X = np.arange(101.0)[:, None] * [1.0, 2.0]
    beside = {"known": torch.tensor(X > 50), "fold": torch.tensor(X[:, 0]).long()}
    in_memory, mapped_rows = (
        Rows(values, **beside).arranged(lambda x: x).to("cpu")
        for values in (X, in_file(tmp_path, X))
    )
    for rows in (in_memory, mapped_rows):
        fitted, held_out = rows.split(0.2, torch.Generator().manual_seed(0))
        assert (len(fitted), len(held_out)) == (81, 20)
        dealt = list(fitted.batches(7, torch.Generator().manual_seed(1), epoch=3))
        assert {batch.epoch for batch in dealt} == {3}
        for batch in [*dealt, *held_out.chunks(6)]:
            assert torch.equal(batch.fold, batch.x[:, 0].long())
            assert torch.equal(batch.known, batch.x > 50)
    first, second = (
        [b.x for b in rows.batches(7, torch.Generator().manual_seed(1))]
        for rows in (in_memory, mapped_rows)
    )
    assert all(map(torch.equal, first, second))
