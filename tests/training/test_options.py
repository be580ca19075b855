"""Options of [train] that change how a step is computed, or when training ends, and not what is learnt."""

import json

import numpy as np
import pytest
import torch
from small_run import TEXT, change

from refar.errors import InputError
from refar.torch import train
from refar.training.config import parse_config
from refar.training.runs import load_run, read_tensors


def quiet(config, run, **options):
    return train(config, run, progress=False, **options)


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def difference(one, other):
    """The largest difference of any parameter of two runs."""
    params = [load_run(run).params for run in (one, other)]
    return max(np.abs(params[0][name] - params[1][name]).max() for name in params[0])


@pytest.fixture
def contrary(config, tmp_path):
    """What is learnt from the training sequences, which count upwards, is wrong for those of the validation."""
    x = (np.arange(40)[:, None] + np.arange(12)) % 4
    conditions = dict.fromkeys(("condition", "valid_condition", "test_condition"), np.arange(40) % 2)
    np.savez(tmp_path / "my.npz", x=x, valid_x=x[:, ::-1], test_x=x, **conditions)
    return change(config, steps=60, ema=0.0, learning_rate=0.05)


def test_patience_ends_a_training_that_gets_no_better(contrary, tmp_path, capsys):
    result = train(change(contrary, patience=3), tmp_path / "run")
    lines = log(tmp_path / "run")
    best = min(range(len(lines)), key=lambda i: lines[i]["valid_nats"])
    assert len(lines) == best + 4
    assert (result.finished, result.step, result.best_step) == (True, lines[-1]["step"], lines[best]["step"])
    said = capsys.readouterr().err.splitlines()
    kept = f"best {result.best_nats:.4f} at step {result.best_step}, kept"
    assert f"bits per value  {kept}" in said[-2]
    assert said[-1] == f"trained {result.step} steps, since 3 validations were no better; {kept}"
    assert read_tensors(tmp_path / "run" / "checkpoint.safetensors", "checkpoint")[1]["counters"]["step"] == result.step


def test_a_patience_that_is_spent_is_spent_and_a_longer_one_goes_on(contrary, tmp_path):
    quiet(change(contrary, patience=3), tmp_path / "run")
    again = quiet(change(contrary, patience=3), tmp_path / "run", resume=True)
    assert (again.finished, again.step) == (True, log(tmp_path / "run")[-1]["step"])
    longer = quiet(change(contrary, patience=5), tmp_path / "run", resume=True)
    assert longer.step == again.step + 10
    quiet(change(contrary, patience=5), tmp_path / "whole")
    assert [line["valid_nats"] for line in log(tmp_path / "run") if "changed" not in line] == [
        line["valid_nats"] for line in log(tmp_path / "whole")
    ]


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_gives_the_same_gradient(config, tmp_path, parts):
    quiet(change(config, steps=5), tmp_path / "whole")
    quiet(change(config, steps=5, accumulate=parts), tmp_path / "parts")
    assert 0 < difference(tmp_path / "whole", tmp_path / "parts") < 1e-5


def test_more_parts_than_sequences(config, tmp_path):
    with pytest.raises(InputError, match=r"train\.accumulate: expected at most the 8 sequences of a batch, got 9"):
        quiet(change(config, accumulate=9), tmp_path / "run")


def test_bfloat16_trains_parameters_of_float32(config, tmp_path):
    quiet(change(config, steps=100, validate_every=100), tmp_path / "fp32")
    config = change(config, steps=100, validate_every=100, precision="bf16")
    quiet(config, tmp_path / "bf16")
    assert {array.dtype for array in load_run(tmp_path / "bf16").params.values()} == {np.dtype(np.float32)}
    found, exact = (log(tmp_path / name)[-1]["valid_nats"] for name in ("bf16", "fp32"))
    assert found == pytest.approx(exact, abs=0.1)
    assert found != exact
    quiet(config, tmp_path / "parts", until=33)
    quiet(config, tmp_path / "parts", resume=True)
    assert difference(tmp_path / "parts", tmp_path / "bf16") == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # what the compiler of PyTorch imports
def test_a_compiled_network_learns_the_same_and_goes_on_bit_for_bit(config, tmp_path):
    config = change(config, compile=True, steps=10)
    quiet(config, tmp_path / "whole")
    quiet(config, tmp_path / "parts", until=4)
    quiet(config, tmp_path / "parts", resume=True)
    assert difference(tmp_path / "parts", tmp_path / "whole") == 0
    quiet(change(config, compile=False), tmp_path / "eager")
    assert difference(tmp_path / "eager", tmp_path / "whole") < 1e-4


def test_settings_of_pytorch_are_as_before(config, tmp_path):
    before = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    quiet(change(config, tf32=True, threads=1), tmp_path / "run", until=1)
    assert (torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("threads = 100000", "train.threads: expected an integer ≤ 1024, got 100000"),
        ('precision = "fp16"', "train.precision: expected 'fp32' or 'bf16', got 'fp16'"),
        ("compile = 1", "train.compile: expected true or false, got 1"),
        ("patience = -1", "train.patience: expected an integer ≥ 0, got -1"),
        ("accumulate = 0", "train.accumulate: expected an integer ≥ 1, got 0"),
        ("validation_values = 0", "train.validation_values: expected an integer ≥ 1, got 0"),
        ("patiense = 3", "train: unknown field `patiense`; did you mean `patience`?"),
    ],
)
def test_mistakes(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        parse_config(TEXT.replace("threads = 1", line), tmp_path)
