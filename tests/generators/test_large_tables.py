"""Budgets of training: few rows are trained as ever, many in no more steps."""

import numpy as np
import pytest

from sklearn_icm._training.trainer import (
    AUTO_EPOCHS,
    AUTO_STEPS,
    LEAST_BATCH,
    MOST_BATCH,
    Trainer,
)
from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.rows._batches import Rows

X = np.random.default_rng(0).normal(size=(130, 2))
AUTO = Trainer(max_epochs="auto", batch_size="auto")


def planned(n_rows, trainer=AUTO):
    # Rows of which there is one.
    rows = Rows(np.broadcast_to(np.zeros((1, 2)), (n_rows, 2)))
    made = trainer.over(rows)
    return made.max_epochs, made.batch_size, rows.n_batches(made.batch_size)


@pytest.mark.parametrize("n_rows", [2, 500, 2_000, 6_400])
def test_few_rows_have_all_epochs(n_rows):
    assert planned(n_rows)[:2] == (AUTO_EPOCHS, LEAST_BATCH)


@pytest.mark.parametrize("n_rows", [6_401, 10_007, 25_600, 60_000, 200_000, 10**6])
def test_many_rows_take_no_more_steps(n_rows):
    n_epochs, size, n_batches = planned(n_rows)
    assert LEAST_BATCH < size <= MOST_BATCH
    assert 1 <= n_epochs <= AUTO_EPOCHS
    # All of them are seen once, and more often where there is room for it.
    assert n_epochs * n_batches <= max(AUTO_STEPS, n_batches)
    assert (n_epochs + 1) * n_batches > AUTO_STEPS or n_epochs == AUTO_EPOCHS


def test_what_is_given_is_kept():
    given = Trainer(max_epochs=7, batch_size=32)
    assert given.over(Rows(X)) == given
    assert planned(10**6, Trainer(max_epochs=7, batch_size="auto"))[:2] == (7, 512)
    assert planned(10**6, Trainer(max_epochs="auto", batch_size=10**6))[:2] == (
        AUTO_EPOCHS,
        10**6,
    )


def test_the_default_is_a_plan_in_numbers(monkeypatch):
    monkeypatch.setattr("sklearn_icm._training.trainer.AUTO_STEPS", 8)
    monkeypatch.setattr("sklearn_icm._training.trainer.AUTO_EPOCHS", 3)
    auto = GraphGenerator([(0, 1)], random_state=0)
    given = GraphGenerator([(0, 1)], max_epochs=3, batch_size=128, random_state=0)
    models = [est.fit(X) for est in (auto, given)]
    assert [est.n_iter_ for est in models] == [3, 3]
    first, second = (est.sample(5, random_state=0) for est in models)
    assert np.array_equal(first, second)
    # Continued, streamed, and as refits that are trained as one.
    assert auto.set_params(warm_start=True).fit(X).n_iter_ == 6
    assert auto.set_params(warm_start=False).fit(X).partial_fit(X).n_iter_ == 4
    refits = BootstrapGenerator(auto, n_estimators=2, random_state=0).fit(X)
    assert {own.n_iter_ for own in refits.estimators_} == {3}


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="max_epochs"):
        GraphGenerator(max_epochs="many").fit(X)
    with pytest.raises(ValueError, match="batch_size"):
        GraphGenerator(batch_size="large").fit(X)
    with pytest.raises(ValueError, match="max_epochs"):
        VAEGenerator(max_epochs="auto").fit(X)
