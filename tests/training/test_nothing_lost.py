"""Nothing of a run is lost, and nothing is mixed: one writer, kills at any moment, weights of the branch that the log shows."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from small_run import TEXT, change

import refar
from refar import models
from refar.data import dataset
from refar.errors import FileError, InputError
from refar.files import sweep
from refar.locks import LOCK, one_writer
from refar.torch import DivergenceError, train
from refar.training.config import parse_config
from refar.training.runs import read_tensors


def quiet(config, run, **options):
    return train(config, run, progress=False, **options)


def weights(run):
    return read_tensors(run / "weights.safetensors", "weights")[1]


def test_two_trainings_do_not_write_into_one_folder(config, tmp_path):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    before = {path: path.read_bytes() for path in run.iterdir() if path.name != LOCK}
    hold = f"import sys; from pathlib import Path; from refar.locks import one_writer\nwith one_writer(Path({str(run)!r}), 'x'):"
    command = [sys.executable, "-c", f"{hold} print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(FileError, match=rf"run' is being written by process {holder.pid} on .*; wait until that ends, or"):
            quiet(config, run, resume=True)
        with pytest.raises(FileError, match=rf"is being written by process {holder.pid} on"):
            quiet(config, run)
        assert {path: path.read_bytes() for path in run.iterdir() if path.name != LOCK} == before
        holder.kill()
    with pytest.raises(FileError, match="holds a run already"):
        quiet(config, run)
    assert quiet(config, run, resume=True).finished, "the lock ends with its process, however that ends"


def test_a_lock_that_names_nobody_is_still_one(tmp_path):
    with one_writer(tmp_path, "folder"):
        (tmp_path / LOCK).write_bytes(b"\xff")
        with pytest.raises(FileError, match=r"folder is being written by another process; wait"), one_writer(tmp_path, "folder"):
            pass


@pytest.mark.parametrize(
    "left", [[], [".lock"], [".lock", ".checkpoint.ab12_z9q.safetensors"], ["graph.json", ".config.x1y2z3w4.toml"]]
)
def test_a_run_that_was_killed_before_its_first_checkpoint_is_begun_again(config, tmp_path, left):
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).write_bytes(refar.to_json(config.graph) if name == "graph.json" else b"half")
    with pytest.raises(FileError, match=r"checkpoint\.safetensors is missing\. Begin it without resuming\.$"):
        quiet(config, run, resume=True)
    assert quiet(config, run).finished
    assert [path.name for path in run.glob(".*")] == [LOCK]


def test_the_graph_of_another_is_not_taken_for_a_leftover(config, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    refar.save(models.linear_ar(2), run / "graph.json")
    before = (run / "graph.json").read_bytes()
    with pytest.raises(FileError, match=r"holds 'graph.json', which no training wrote"):
        quiet(config, run)
    assert [(path.name, path.read_bytes()) for path in run.iterdir()] == [("graph.json", before)]


def test_only_leftovers_are_swept(tmp_path):
    kept = [".bashrc", ".graph.json", ".graph.abc.json", ".graph.abcdefgh.toml", ".my.abcdefgh.json", "graph.json"]
    for name in [*kept, ".graph.abcdefgh.json"]:
        (tmp_path / name).write_text("")
    sweep(tmp_path, ["graph.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_half_written_samples_are_swept(config, tmp_path):
    run = tmp_path / "run"
    quiet(config, run, until=2)
    (run / "samples").mkdir()
    kept = ["mine.png", ".mine.abcdefgh.png", "step-0000002.png", "step-0000002-0.wav"]
    for name in [*kept, ".step-0000002.abcdefgh.png", ".step-0000002-11.abc_efg1.wav"]:
        (run / "samples" / name).write_text("")
    quiet(config, run, resume=True, until=3)
    assert sorted(path.name for path in (run / "samples").iterdir()) == sorted(kept)


def test_the_data_are_read_once_for_all_checkpoints(config, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(dataset, "_add", lambda digest, title, array: read.append(title))
    quiet(change(config, checkpoint_every=1), tmp_path / "run")
    known = [title for title in read if title in ("train", "valid")]  # as the run's digest calls them
    assert known == ["train", "train", "valid", "valid"], "x and the condition of each, once"


@pytest.mark.parametrize("keep", [0, 5, 10])
def test_weights_of_a_future_that_was_cut_away_go_with_it(config, tmp_path, keep):
    """The checkpoint is older than the best weights: what the folder holds after resuming is the best before the checkpoint."""
    config = change(config, checkpoint_every=100, validate_every=5)
    run, copy = tmp_path / "run", tmp_path / "copy"
    quiet(config, run, until=keep + 2)
    expected = (run / "weights.safetensors").read_bytes() if keep else None
    shutil.copytree(run, copy)
    assert quiet(config, run, resume=True, until=18).best_step == 15
    shutil.copy(copy / "checkpoint.safetensors", run)
    result = quiet(config, run, resume=True, until=keep + 2)
    assert (result.step, result.best_step) == (keep + 2, keep or None)
    assert ((run / "weights.safetensors").read_bytes() if keep else None) == expected
    assert (run / "weights.safetensors").exists() == bool(keep)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [5, 10][: keep // 5]
    quiet(config, run, resume=True)
    quiet(config, tmp_path / "whole")
    assert (run / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()


def test_an_update_that_is_not_finite_names_its_step_and_layer(config, tmp_path):
    run = tmp_path / "run"
    config = change(config, learning_rate=1e300, warmup=0)
    message = (
        r"step 1: expected finite parameters after the update, got '[\w.]+' with values that are not finite; "
        r".*run' keeps its checkpoint of step 0: resume it with a smaller learning_rate"
    )
    with pytest.raises(DivergenceError, match=message):
        quiet(config, run)
    assert quiet(change(config, learning_rate=0.01), run, resume=True).finished


def test_a_gradient_that_is_not_finite_names_its_step_and_layer(tmp_path):
    """The step is told although the notes are read long after it: no update is done from there on."""
    x = np.random.default_rng(0).normal(size=(40, 1, 6))
    x[7] = 1e30
    np.savez(tmp_path / "big.npz", x=x, valid_x=x[:2], test_x=x[:2])
    text = 'model={name="linear_ar", order=2}\ndata.path="big.npz"\ntrain={steps=40, batch=4, threads=1, validate_every=40}'
    config = parse_config(text, tmp_path)
    steps = []
    for every in (1, 40):
        with pytest.raises(DivergenceError, match=r"first gradient that is not finite is that of 'ar\.weight'") as found:
            quiet(change(config, checkpoint_every=every), tmp_path / f"run{every}")
        steps.append(str(found.value).partition(":")[0])
    assert steps[0] == steps[1]
    assert int(steps[0].split()[1]) > 1
    info = read_tensors(tmp_path / "run1" / "checkpoint.safetensors", "checkpoint")[1]
    assert f"step {info['counters']['step'] + 1}" == steps[0], "a checkpoint of the step before, and none after"


def test_a_killed_run_goes_on_bit_for_bit(config, tmp_path):
    """kill -9 of a real process, at some moment; tests/bench/kills.py does it often."""
    (tmp_path / "config.toml").write_text(TEXT.replace("steps = 20", "steps = 400"))
    command = [sys.executable, "-m", "refar", "train", str(tmp_path / "config.toml"), "--out", str(tmp_path / "parts")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"step 5/400")
        time.sleep(0.2)
        process.kill()
    quiet(parse_config((tmp_path / "config.toml").read_bytes(), tmp_path), tmp_path / "parts", resume=True)
    quiet(parse_config((tmp_path / "config.toml").read_bytes(), tmp_path), tmp_path / "whole")
    for name in ("weights.safetensors", "config.toml", "graph.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in (tmp_path / r / "log.jsonl").read_text().splitlines()
        ]
        for r in ("parts", "whole")
    ]
    assert lines[0] == lines[1]


def test_a_network_that_looks_back_further_than_any_sequence_is_refused(tmp_path):
    np.savez(tmp_path / "my.npz", x=np.zeros((20, 1, 64)))
    config = parse_config('model={name="linear_ar", order=128}\ndata.path="my.npz"\ntrain.batch=4', tmp_path)
    message = "expected sequences longer than the 128 positions that node 'ar' looks back, got 64 positions"
    with pytest.raises(InputError, match=message):
        quiet(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
