import re

import numpy as np
import pytest

from sklearn_icm import __main__ as main


@pytest.fixture
def tiny(monkeypatch):
    effort = main.Effort(n_rows=24, epochs=2, folds=2, weights=(0.0, 3.0), starts=2)
    monkeypatch.setattr(main.Effort, "choose", lambda quick, n_pixels: effort)
    monkeypatch.setattr(main, "N_WIDE", 12)
    monkeypatch.setattr(main, "N_JUDGED", 12)


def test_the_job_runs_end_to_end(tiny, tmp_path, capsys):
    assert main.main(["--output", str(tmp_path / "demo"), "--seed", "103"]) == 0
    out = capsys.readouterr().out
    first, *_, last = out.strip().splitlines()
    assert "2 weights x 2 folds of 24 rows" in first
    assert last.startswith("At 1.5 times the distance")
    named = main.SEEN, main.MEAN, main.PIXELS, main.SEARCHED, main.PARTS
    for text in ("fit  4/4", "appearance", "less pixels", "usual decoder", *named):
        assert text in out
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert names == ["answers.png", "parts.png", "search.png", "training.png"]
    assert all(p.stat().st_size > 5000 for p in (tmp_path / "demo").iterdir())


def test_missing_data_is_one_line_without_traceback(tmp_path, capsys):
    arguments = ["--data", "olivetti", "--data-home", str(tmp_path)]
    assert main.main([*arguments, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: The Olivetti faces are not in")


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--threads", "0"], ["--data", "mnist"]]
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        main.main(arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("skills", "text"),
    [
        ([[0.5, 0.5], [0.4, 0.4], [0.3, 0.3]], "did not help"),
        ([[0.4, 0.4], [0.5, 0.501], [0.3, 0.3]], "icm_weight=3 .*: it helped"),
        ([[0.4, 0.6], [0.6, 0.6], [0.3, 0.3]], "no claim that it helped"),
        ([[0.4, np.nan], [0.6, 0.6], [0.3, 0.3]], "so no claim"),
    ],
)
def test_the_finding_is_honest(skills, text):
    assert re.search(text, main.finding([0, 3, 10], np.array(skills).T))


@pytest.mark.parametrize(
    ("pixels", "plain", "texts"),
    [
        ([2.0, 2.1], [2.0, 2.2], ["'map, searched' comes closest", "it is nearer"]),
        ([0.2, 0.2], [1.0, 1.1], ["'stretched pixels' comes closest", "further away"]),
        ([1.4, 0.7], [2.1, 2.1], ["as near (by +0.05", "and nearer (by"]),
    ],
)
def test_the_conclusion_follows_the_errors(pixels, plain, texts):
    errors = {main.PIXELS: pixels, main.PLAIN: plain, main.SEARCHED: [1.0, 1.0]}
    said = main.conclusion({name: np.array(own) for name, own in errors.items()})
    assert all(text in said for text in texts)


def test_errors_are_0_of_the_truth_and_1_of_its_mean():
    truth = np.random.RandomState(0).rand(30, 4)
    assert main.row_errors(truth, truth).mean() == 0
    mean = np.broadcast_to(truth.mean(0), truth.shape)
    np.testing.assert_allclose(main.row_errors(mean, truth).mean(), 1)


def test_rows_that_are_judged_are_neither_fitted_nor_scored():
    job = main.Job.make(None, 50, seed=103)
    assert job.labels.tolist().count("narrow") == len(job.narrow) == 50
    for stretch, truth in job.truth.items():
        assert len(truth) == len(job.asked) == main.N_JUDGED
        assert not (truth[:, None] == job.X[50:]).all(-1).any(), stretch


def test_larger_canvases_train_fewer_epochs():
    full, large = (main.Effort.choose(False, n) for n in (288, 1000))
    assert large.epochs < full.epochs
    assert main.Effort.choose(True, 288).n_rows < full.n_rows
