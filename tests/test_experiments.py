"""docs/experiments: pages say what results.json says, bundles of the weights that are kept score as it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import announce, book, course, pages

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "experiments"
NAMES = book.names(FOLDER)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_what_the_script_writes(name):
    experiment = book.load(FOLDER, name)
    text = (experiment.here / "README.md").read_text(encoding="utf-8")
    assert pages.with_results(experiment, text) == text, f"run `python docs/experiments/run.py {name} --page`"
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (experiment.here / picture).is_file()
    assert f"]({name}/README.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_a_run_is_small_and_complete(name):
    experiment = book.load(FOLDER, name)
    found = course.results(experiment)
    assert found["figures"]["losses"].keys() == found["torch_losses"].keys() == set(experiment.runs)
    for run in experiment.runs:
        for file in course.KEPT:
            assert (experiment.here / "weights" / run / file).stat().st_size <= 2 * 2**20
    for config in experiment.configs:
        assert (experiment.here / f"{config}.toml").is_file()


@pytest.mark.parametrize("name", ["toy", "orders", "effect"])
def test_the_weights_have_the_loss_that_the_page_says(name, tmp_path):
    """Of the first run, in PyTorch; the script does it for all, with the bundles too."""
    experiment = book.load(FOLDER, name)
    experiment.prepare(tmp_path)
    run = next(iter(experiment.runs))
    course.bring_weights(experiment, tmp_path, run)
    expected = course.results(experiment)["torch_losses"][run]
    assert course.loss_of_torch(tmp_path, run) == pytest.approx(expected, rel=1e-5)


@pytest.mark.row("002-14")
@pytest.mark.row("001-13")
def test_what_was_measured_of_cost_is_what_the_documents_say():
    """Fast generation grows with layers, slow with R; a masked input costs about as many passes as there are outputs."""
    experiment = book.load(FOLDER, "cost")
    figures = course.results(experiment)["figures"]
    assert all(reached for _, _, reached in experiment.claims(figures))
    for length, ways in figures["masked"].items():
        assert ways["masked"][1] / ways["pass"][1] > 0.5 * int(length)


@pytest.mark.row("002-15")
def test_what_was_measured_of_mnist_is_what_the_document_says():
    """Bayes' rule on all test pictures, binarised at one half, and after 281 and 589 of their 784 pixels."""
    experiment = book.load(FOLDER, "mnist")
    figures = course.results(experiment)["figures"]
    assert figures["bayes"]["count"] == 10_000
    assert all(reached for _, _, reached in experiment.claims(figures))
    assert figures["bayes"]["right"]["85"] <= figures["bayes"]["best"]["85"] < 0.17


def test_experiments_are_listed(capsys):
    announce.list_all(book.all_of(FOLDER))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(NAMES)]] == NAMES
    assert all("about" in line for line in lines[: len(NAMES)])


def test_what_is_missing_is_said_before_anything_is_written(tmp_path):
    hidden = "import runpy, sys; sys.modules['matplotlib'] = None; del sys.argv[0]; "
    program = hidden + "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", program, str(FOLDER / "run.py"), "toy", "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(FOLDER)})
    assert done.returncode == 1
    assert "missing: refar[plot]; pip install refar[plot]" in done.stdout
    assert "takes:" in done.stdout
    assert not (tmp_path / "work").exists()
