import numpy as np
import pytest

from sklearn_icm import __main__ as main


@pytest.fixture
def tiny(monkeypatch):
    effort = main.Effort(n_rows=30, epochs=2, folds=2)
    monkeypatch.setattr(main.Effort, "choose", lambda quick, n_pixels: effort)


def test_the_job_runs_end_to_end(tiny, tmp_path, capsys):
    assert main.main(["--output", str(tmp_path / "demo"), "--seed", "3"]) == 0
    out = capsys.readouterr().out
    for text in (
        "fit  8/8",
        "icm_weight",
        "rho conv2 -> data",
        "skill",
        "mean_shift",
        "Figures:",
    ):
        assert text in out
    assert "help" in out or "claim" in out
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert names == [
        "independence.png",
        "interventions.png",
        "samples.png",
        "training.png",
    ]
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


class Results:
    def __init__(self, skills):
        folds = np.array(skills).T
        self.cv_results_ = {f"split{k}_test_skill": s for k, s in enumerate(folds)}


@pytest.mark.parametrize(
    ("skills", "text"),
    [
        ([[0.5, 0.5], [0.4, 0.4], [0.4, 0.4], [0.3, 0.3]], "did not help"),
        ([[0.4, 0.4], [0.5, 0.501], [0.4, 0.4], [0.3, 0.3]], ": it helped"),
        ([[0.4, 0.6], [0.6, 0.6], [0.4, 0.4], [0.3, 0.3]], "no claim"),
    ],
)
def test_the_finding_is_honest(skills, text):
    assert text in main.finding(Results(skills), 2)


def test_larger_canvases_train_fewer_epochs():
    full, large = (main.Effort.choose(False, n) for n in (288, 1000))
    assert large.epochs < full.epochs
    assert main.Effort.choose(True, 288).n_rows < full.n_rows
