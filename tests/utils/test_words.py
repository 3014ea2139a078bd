"""Sentences are true to their numbers, on grids of numbers."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from sklearn_icm.inspection._reports import _consistency_row
from sklearn_icm.metrics._evaluate import _sentence
from sklearn_icm.metrics._extrapolation import _explained
from sklearn_icm.model_selection._judge import Judge
from sklearn_icm.utils.words import part_of

PARTS = [-833.63, -1.004, -0.04, -0.005, -0.004, -1e-9, 0, 1e-9, 0.004, 0.3, 0.996, 1]


def check_part(told, part, good, bad="(?!)"):
    """The direction is that of the number, and its size right to a percent."""
    match = re.search(rf"({good}|{bad}) (none of|less than 1%|\d+%)", told)
    verb, amount = match.groups()
    assert not re.search(r"-\d+%", told)
    assert bool(re.fullmatch(good, verb)) == (part >= 0 or bad == "(?!)")
    size = max(min(part, 1), -part if bad != "(?!)" else 0)
    if amount == "none of":
        assert size == 0
    elif amount == "less than 1%":
        assert 0 < size < 0.01
    else:
        assert 100 * size == pytest.approx(int(amount[:-1]), abs=0.501)


def test_parts_in_words():
    for part in (*PARTS, 1.02):
        check_part(part_of(part, "saves", "adds"), part, "saves", "adds")
        check_part(part_of(part, "explains"), part, "explains")


def about(name, has_parents, skill, linear, p_value, half=np.nan):
    """Sentence about a mechanism, with intervals of a half width."""
    row = {"skill": skill, "linear_skill": linear, "p_value": p_value}
    for kind in ("", "linear_"):
        value = row[f"{kind}skill"]
        row |= {f"{kind}low": value - half, f"{kind}high": value + half}
    return _sentence(name, has_parents, pd.Series(row))


def test_sentences_about_mechanisms():
    p_values, parts = [1e-9, 0.009, 0.01, 0.03, 0.099, 0.5, np.nan], [*PARTS, np.nan]
    for p_value, skill, linear in product(p_values, parts, parts):
        told = about("income", True, skill, linear, p_value)
        assert "nan" not in told
        if np.isnan(skill):
            assert "the same in all rows" in told
            continue
        check_part(told, skill, "saves", "adds")
        if not np.isnan(linear):
            check_part(told.split(" and ")[1], linear, "saves", "adds")
        assert ("shows no dependence" in told) == (p_value >= 0.1)
        assert ("may depend" in told) == (0.01 <= p_value < 0.1)
        assert ("noise depends" in told) == (p_value < 0.01)


@pytest.mark.parametrize("part", PARTS)
def test_sentences_about_roots_environments_and_latents(part):
    check_part(about("a", False, part, np.nan, 0.5), part, "saves", "adds")
    sure = about("a", False, part, np.nan, 0.5, half=0.1)
    assert f"(interval {part - 0.1:.0%} to {part + 0.1:.0%})" in sure
    for distance, is_shifted in product([0.1, 0.3], [True, False]):
        found = Bunch(
            skill=part,
            low=part - 0.1,
            high=part + 0.1,
            distance=distance,
            noise_floor=0.2,
            is_shifted=is_shifted,
            best_baseline="moments",
            moments=0.5,
        )
        told = _explained(found, "the rows")
        assert f"Skill {part:.2f} (interval {part - 0.1:.2f} to" in told
        assert "'moments' has 0.50" in told
        assert ("no more than chance" in told) == (distance < 0.2)
        assert ("nothing to predict" in told) == (not is_shifted)
    result = Bunch(value=part, table_=[part], chance=0.0)
    check_part(_consistency_row(result, "affine")[-1], part, "explain")


@pytest.mark.parametrize("explains", [[True, True], [True, False], [False, False]])
def test_sentences_about_shifts(explains):
    ends = [[], ["value"], ["scale", "shift"]]
    for distance, at_end in product([-0.01, 0.1, 0.3], ends):
        check_sentences_about_shifts(explains, distance, at_end)


def check_sentences_about_shifts(explains, distance, at_end):
    judge = object.__new__(Judge)
    judge.is_shift = True
    row = {"family": "shift", "node": "a", "params": {"value": 1.0}}
    row |= {"noise_floor": 0.2, "at_end": at_end, "distance": distance}
    rows = [
        {**row, "explains": e, "skill": 1 - distance, "as_good": True} for e in explains
    ]
    table = pd.DataFrame(rows)
    told, parameters, *_ = judge.sentences(table, "None.")
    assert parameters == "None."
    if not explains[0]:
        assert ("too few to tell" in told) == (distance < 0.2)
        assert ("No intervention" in told) == (distance > 0.2)
        return
    check_part(told.split(" at 'a' ")[1], 1 - distance, "explains")
    assert ("beyond the noise floor" in told) == (distance > 0.2)
    assert ("lies at the end" in told) == (at_end == ["value"])
    assert ("lie at the end" in told) == (len(at_end) == 2)
    also = bool(at_end) and distance > 0.2 and explains[1]
    assert ("also ended at 'a'" in told) == also
