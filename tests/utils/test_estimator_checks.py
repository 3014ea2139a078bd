"""Every check of generators catches the one estimator that is broken for it."""

import numpy as np
import pytest
import torch

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
        if interventions:
            with torch.no_grad():
                next(self.graph_.parameters()).add_(1.0)
        return rows


class RefitsInSample(Broken):
    def sample(self, n_samples=1, random_state=None, **params):
        self.n_iter_ = float(self.n_iter_) + 0.0
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


BROKEN = {
    "check_sample_needs_fit": SamplesUnfitted,
    "check_row_counts": OneRowTooMany,
    "check_bad_row_counts": TakesAnyNumber,
    "check_finite": NotFinite,
    "check_dtype": AlwaysDouble,
    "check_fit_returns_self_and_keeps_params": ChangesParams,
    "check_nodes": WrongOrder,
    "check_no_intervention_is_sample": OtherNoise,
    "check_pairs_share_noise": UnpairedFactual,
    "check_counterfactual_identity": DropsResiduals,
    "check_do_is_effective": IneffectiveDo,
    "check_intervene_is_stateless": Remembers,
    "check_sample_never_fits": RefitsInSample,
    "check_global_random_streams": MovesGlobalStream,
    "check_same_seed_same_samples": ForgetsWhenPickled,
    "check_successive_draws_differ": RepeatsItself,
    "check_unknown_node": SilentOnUnknownNodes,
    "check_observational_rows_only": FitsAllRows,
}


def test_every_check_has_a_broken_estimator():
    assert [check.__name__ for check in checks.generator_checks()] == list(BROKEN)


def test_the_unbroken_base_passes():
    checks.check_generator(Broken())


@pytest.mark.parametrize("name", BROKEN)
def test_check_catches_its_broken_estimator(name):
    with pytest.raises(AssertionError, match=r"\w"):
        getattr(checks, name)(BROKEN[name]())
