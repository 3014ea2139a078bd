"""Jobs that people come with, on data of known truth, in calls that the docs name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = sorted((Path(__file__).parent / "jobs").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_job_finds_the_truth(path):
    assert path.read_text().count("\n") <= 80
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
