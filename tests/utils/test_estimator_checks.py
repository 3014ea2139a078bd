"""Every check of generators catches the one estimator that is broken for it."""

import numpy as np
import pytest
import torch
from toy_families import EnergyGenerator

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.utils import estimator_checks as checks


class Broken(VAEGenerator):
    """Same parameters as VAEGenerator; sklearn reads them from this signature."""

    def __init__(self, data_shape=None, *, observational=None, random_state=None):
        super().__init__(
            data_shape,
            hidden=(4,),
            n_latents=2,
            max_epochs=1,
            observational=observational,
            random_state=random_state,
        )


class SamplesUnfitted(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        if not self.__sklearn_is_fitted__():
            self.fit(np.eye(4))
        return super().sample(n_samples, random_state, **params)


class OneRowTooMany(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        return super().sample(n_samples + 1, random_state, **params)


class TakesAnyNumber(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        return super().sample(max(1, int(n_samples)), random_state, **params)


class NotFinite(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        rows = super().sample(n_samples, random_state, **params)
        # Few rows would fail to repeat themselves first.
        if n_samples > 100:
            rows[-1] = np.nan
        return rows


class AlwaysDouble(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        return super().sample(n_samples, random_state, **params).astype(np.float64)


class ChangesParams(Broken):
    def fit(self, X, y=None, environments=None):
        super().fit(X, y, environments)
        self.random_state = 7
        return self


class WrongOrder(Broken):
    @property
    def mechanisms_(self):
        return dict(reversed(super().mechanisms_.items()))


class OtherNoise(Broken):
    def intervene(self, interventions, X=None, *, random_state=None, **params):
        if isinstance(random_state, int):
            random_state += 1
        return super().intervene(interventions, X, random_state=random_state, **params)

    def sample(self, n_samples=1, random_state=None, **params):
        return super().intervene(
            {}, n_samples=n_samples, random_state=random_state, **params
        )


class UnpairedFactual(Broken):
    def intervene(self, interventions, X=None, *, return_factual=False, **params):
        rows = super().intervene(interventions, X, **params)
        if return_factual:
            params["random_state"] = 99
            return super().intervene({}, X, **params), rows
        return rows


class DropsResiduals(Broken):
    def intervene(self, interventions, X=None, **params):
        return super().intervene(interventions, X, **{**params, "residual": "drop"})


class IneffectiveDo(Broken):
    def intervene(self, interventions, X=None, **params):
        rows = super().intervene(interventions, X, **params)
        return rows + 0.1 if "data" in interventions else rows


class Remembers(Broken):
    def intervene(self, interventions, X=None, **params):
        rows = super().intervene(interventions, X, **params)
        if any(map(callable, interventions.values())):
            with torch.no_grad():
                next(self.graph_.parameters()).add_(1.0)
        return rows


class RefitsInSample(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        if self.__sklearn_is_fitted__():
            self.n_asked_ = 1 + getattr(self, "n_asked_", 0)
        return super().sample(n_samples, random_state, **params)


class MovesGlobalStream(Broken):
    def fit(self, X, y=None, environments=None):
        np.random.rand()
        return super().fit(X, y, environments)


class ForgetsWhenPickled(Broken):
    def __setstate__(self, state):
        super().__setstate__(state)
        with torch.no_grad():
            next(self.graph_.parameters()).add_(1.0)


class RepeatsItself(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        return super().sample(n_samples, 0, **params)


class SilentOnUnknownNodes(Broken):
    def intervene(self, interventions, X=None, **params):
        known = {k: v for k, v in interventions.items() if k in self.nodes_}
        return super().intervene(known, X, **params)


class FitsAllRows(Broken):
    def fit(self, X, y=None, environments=None):
        wanted, self.observational = self.observational, None
        super().fit(X)
        self.observational = wanted
        return self


class ScoresInOrder(Broken):
    def score_samples(self, X, **params):
        return super().score_samples(X, **params) + np.arange(len(X))


class ExplainsSecretly(EnergyGenerator):
    def intervene(self, interventions, X=None, *, n_samples=None, **params):
        n_samples = n_samples if X is None else len(X)
        return super().intervene(interventions, n_samples=n_samples, **params)


BROKEN = {
    ScoresInOrder: "the score of a row must not depend on the others",
    ExplainsSecretly: "rows that cannot be explained must raise TypeError",
    SamplesUnfitted: "sample needs a fit",
    ChangesParams: "must not change the parameter 'random_state'",
    AlwaysDouble: "samples of float32 data must be float32",
    MovesGlobalStream: "numpy's global random state must not move",
    RepeatsItself: "successive draws must differ",
    ForgetsWhenPickled: "a pickled model must give the same seeded samples",
    OneRowTooMany: r"sample\(1\) must be",
    TakesAnyNumber: "must raise ValueError or TypeError",
    NotFinite: "samples must be finite",
    WrongOrder: "comes before its parents",
    OtherNoise: r"intervene\({}\) must equal sample",
    UnpairedFactual: "the factual rows must be the samples of the same seed",
    DropsResiduals: r"intervene\({}, X=X\) must return X",
    IneffectiveDo: "setting 'data' to 0.5",
    Remembers: "intervene must not change the fitted model",
    RefitsInSample: "sample must not change attributes",
    SilentOnUnknownNodes: "an unknown node must raise ValueError",
    FitsAllRows: "must not influence the fit",
}


def test_the_unbroken_base_passes():
    checks.check_generator(Broken())


@pytest.mark.parametrize("estimator", BROKEN, ids=lambda e: e.__name__)
def test_broken_estimators_are_caught(estimator):
    with pytest.raises(AssertionError, match=BROKEN[estimator]):
        checks.check_generator(estimator())
