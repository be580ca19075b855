"""Training: it learns, goes on bit for bit, and keeps its run folder whole whatever happens."""

import contextlib
import json
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch
from small_run import TEXT, change

import refar
from refar import data, models
from refar.errors import BackendError, FileError, GraphError, InputError, RefarError
from refar.torch import DivergenceError, train
from refar.torch.step import Stepper
from refar.training import runs
from refar.training.config import parse_config
from refar.training.runs import load_run, read_tensors


def quiet(config, run, **options):
    return train(config, run, progress=False, **options)


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def everything(run):
    """All of a run but the clock."""
    arrays, info = read_tensors(run / "checkpoint.safetensors", "checkpoint")
    del info["counters"]["seconds"]
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in log(run)]
    others = [(run / name).read_bytes() for name in ("weights.safetensors", "graph.json", "config.toml")]
    return {k: (v.dtype, v.tobytes()) for k, v in arrays.items()}, info, lines, others


def test_learns_and_leaves_a_run(config, tmp_path):
    run = tmp_path / "run"
    result = quiet(change(config, steps=150), run)
    assert (result.step, result.finished) == (150, True)
    lines = log(run)
    assert [line["step"] for line in lines] == list(range(5, 155, 5))
    assert lines[-1].keys() == {"step", "train_nats", "valid_nats", "valid_bits", "lr", "seconds"}
    assert lines[-1]["valid_nats"] < 0.5 < 1.3 < lines[0]["train_nats"]
    assert result.best_nats == min(line["valid_nats"] for line in lines)
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock", "checkpoint.safetensors", "config.toml", "data.json", "graph.json", "log.jsonl", "weights.safetensors",
    ]  # fmt: skip
    graph, params, again = load_run(run)
    assert (graph, again) == (config.graph, change(config, steps=150))
    valid = data.load(config.data.source).valid
    # float32 training against the float64 oracle: a loss of order 1 through 8 layers of at most 64 products
    assert refar.nll(graph, params, valid.x, valid.condition) == pytest.approx(result.best_nats, abs=64 * 2**-24 * 8)


def test_reading_a_run_needs_no_torch(config, tmp_path):
    quiet(config, tmp_path / "run", until=5)
    script = (
        "import sys; sys.modules['torch'] = None; from refar.training.runs import load_run;"
        f"graph, params, config = load_run({str(tmp_path / 'run')!r}); print(len(params))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) == len(refar.init(config.graph))


@pytest.mark.parametrize("stop", [1, 8, 10, 13])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resuming_is_going_on_bit_for_bit(config, tmp_path, stop, ema):
    config = change(config, ema=ema)
    quiet(config, tmp_path / "whole")
    first = quiet(config, tmp_path / "parts", until=stop)
    assert (first.step, first.finished) == (stop, False)
    second = quiet(config, tmp_path / "parts", resume=True)
    assert (second.step, second.finished) == (20, True)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def test_augmented_pictures_resume_too(tmp_path):
    model, options = 'name="nettoy1d", classes=17, hidden=4', 'steps=4, batch=4, augment="shift", threads=1'
    text = f'model={{{model}}}\ndata.name="digits"\ntrain={{{options}}}'
    config = parse_config(text)
    quiet(config, tmp_path / "whole")
    quiet(config, tmp_path / "parts", until=2)
    quiet(config, tmp_path / "parts", resume=True)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    quiet(change(config, augment="none"), tmp_path / "plain")
    assert everything(tmp_path / "plain")[0] != everything(tmp_path / "whole")[0]


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(config, tmp_path, monkeypatch):
    quiet(config, tmp_path / "whole")

    def killed(stepper, batch, step=Stepper.step):
        if stepper._state.counters.step == 14:
            raise MemoryError
        step(stepper, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", killed)
        with pytest.raises(MemoryError):
            quiet(config, tmp_path / "parts")
    with (tmp_path / "parts" / "log.jsonl").open("a") as file:
        file.write('{"step":15,"train_na')
    quiet(config, tmp_path / "parts", resume=True)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_finishes_the_step_and_saves(config, tmp_path, monkeypatch, capsys, number):
    def pressed(stepper, batch, step=Stepper.step):
        if stepper._state.counters.step == 6:
            signal.raise_signal(number)
        step(stepper, batch)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", pressed)
        result = train(config, tmp_path / "run")
    assert signal.getsignal(number) is before
    assert (result.step, result.finished) == (7, False)
    assert "stopped after step 7 of 20; the checkpoint is written" in capsys.readouterr().err
    quiet(config, tmp_path / "run", resume=True)
    quiet(config, tmp_path / "whole")
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")


def test_a_disk_that_is_full_at_any_moment_harms_nothing(config, tmp_path, monkeypatch):
    quiet(config, tmp_path / "whole")
    run = tmp_path / "parts"
    quiet(config, run, until=5)
    checkpoints = set()
    for moment in range(1, 20):
        left = iter(range(moment - 1))

        def full(descriptor, left=left):
            if next(left, None) is None:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with contextlib.suppress(FileError):
                quiet(config, run, resume=True)
        checkpoints.add(read_tensors(run / "checkpoint.safetensors", "checkpoint")[1]["counters"]["step"])
        assert [path.name for path in run.glob(".*")] == [".lock"]
    assert checkpoints == {5, 8, 12, 16, 20}
    assert everything(run) == everything(tmp_path / "whole")


def test_a_run_is_not_overwritten(config, tmp_path):
    quiet(config, tmp_path / "run", until=1)
    with pytest.raises(FileError, match=r"holds a run already .*; resume it, or choose another folder"):
        quiet(config, tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="expected a folder, got a file"):
        quiet(config, tmp_path / "file")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileError, match=r"holds 'file', which no training wrote; choose another folder"):
        quiet(config, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("weights.safetensors", "years of work", r"weights\.safetensors' cannot be read as safetensors"),
        (
            "log.jsonl",
            "years of work",
            r"log\.jsonl': line 1: expected a JSON object with the field `step`.* got 'years of work'",
        ),
        ("log.jsonl", '{"step":5}\nmine\n{"step":5}\n', r"log\.jsonl': line 2: expected a JSON object .* got 'mine'"),
        ("config.toml", "years of work", r"config\.toml: not TOML"),
    ],
)
def test_resuming_writes_over_no_file_of_another(config, tmp_path, name, text, message):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    (run / name).write_text(text)
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RefarError, match=message):
        quiet(config, run, resume=True)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_resuming_writes_over_no_weights_of_another_network(config, tmp_path):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    runs.write_tensors(run / "weights.safetensors", "weights", {"x": np.zeros(1)}, {"graph": "another"})
    with pytest.raises(FileError, match=r"weights\.safetensors' belongs to another graph"):
        quiet(config, run, resume=True)


def test_resuming_where_nothing_is(config, tmp_path):
    for run in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileError, match=r"expected a run to resume, but checkpoint\.safetensors is missing"):
            quiet(config, run, resume=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "no safetensors", "weights"])
def test_damaged_checkpoints(config, tmp_path, damage):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    path = run / "checkpoint.safetensors"
    whole = path.read_bytes()
    if damage == "weights":
        path.write_bytes((run / "weights.safetensors").read_bytes())
    elif damage == "altered":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        path.write_bytes({"cut": whole[:-100], "empty": b"", "no safetensors": b"something else entirely"}[damage])
    message = {"altered": "is damaged", "weights": "expected 'refar-checkpoint'"}.get(damage, "cannot be read as safetensors")
    with pytest.raises(FileError, match=message):
        quiet(config, run, resume=True)


def test_resuming_something_else(config, tmp_path):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    wider = msgspec.structs.replace(config, model=config.model | {"skip": 9})
    with pytest.raises(FileError, match="belongs to another graph"):
        quiet(wider, run, resume=True)
    with pytest.raises(FileError, match="was trained with ema"):
        quiet(change(config, ema=0.0), run, resume=True)
    np.savez(tmp_path / "my.npz", x=np.zeros((40, 12), int), condition=np.arange(40) % 2)
    with pytest.raises(FileError, match="was trained on other data"):
        quiet(config, run, resume=True)


def test_a_longer_run_from_a_finished_one(config, tmp_path, capsys):
    quiet(config, tmp_path / "run")
    assert train(change(config, steps=25, learning_rate=0.05), tmp_path / "run", resume=True, until=22).step == 22
    assert capsys.readouterr().err.startswith("resuming with changed [train]: steps 20 → 25, learning_rate 0.01 → 0.05\n")
    assert train(change(config, steps=25, learning_rate=0.05), tmp_path / "run", resume=True).finished
    assert "changed" not in capsys.readouterr().err
    lines = log(tmp_path / "run")
    assert [line["step"] for line in lines if "valid_nats" in line] == [5, 10, 15, 20, 25]
    changes = [line for line in lines if "changed" in line]
    assert changes == [{"step": 20, "changed": {"steps": [20, 25], "learning_rate": [0.01, 0.05]}}]
    assert quiet(change(config, steps=25, learning_rate=0.05), tmp_path / "run", resume=True).finished


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 4}, "train.seed: expected 3, as the run began"),
        ({"batch": 4}, "train.batch: expected 8, as the run began"),
        ({"steps": 9}, "train.steps: expected at least the 10 steps that are done, got 9"),
    ],
)
def test_what_a_resumed_run_keeps(config, tmp_path, options, message):
    run = tmp_path / "run"
    quiet(config, run, until=10)
    before = everything(run)
    with pytest.raises(InputError, match=message):
        quiet(change(config, **options), run, resume=True)
    assert everything(run) == before


def test_a_change_is_seen_in_a_config_that_was_edited_in_the_run(config, tmp_path, capsys):
    run = tmp_path / "run"
    quiet(config, run, until=5)
    (run / "config.toml").write_text((run / "config.toml").read_text().replace("warmup = 4", "warmup = 2  # as before"))
    train(run / "config.toml", run, resume=True)
    assert "# as before" in (run / "config.toml").read_text()
    assert "resuming with changed [train]: warmup 4 → 2\n" in capsys.readouterr().err


def test_a_loss_that_is_not_finite(config, tmp_path):
    np.savez(tmp_path / "big.npz", x=np.full((20, 1, 5), 1e30))
    config = parse_config('model={name="linear_ar", order=2}\ndata.path="big.npz"\ntrain={steps=5, batch=4}', tmp_path)
    message = (
        r"step 1: expected a finite loss and gradient, got loss inf.*run' keeps its checkpoint of step 0: "
        "resume it with a smaller learning_rate, more warmup or gradient_clip, or remove it to begin anew"
    )
    for resume in (False, True):
        with pytest.raises(DivergenceError, match=message):
            quiet(config, tmp_path / "run", resume=resume)
    assert read_tensors(tmp_path / "run" / "checkpoint.safetensors", "checkpoint")[1]["counters"]["step"] == 0


def test_a_signal_without_condition(tmp_path):
    rng = np.random.default_rng(0)
    x = np.zeros((30, 1, 50))
    for t in range(1, 50):
        x[:, 0, t] = 0.8 * x[:, 0, t - 1] + rng.normal(size=30)
    np.savez(tmp_path / "ar.npz", x=x)
    options = 'steps=300, batch=24, learning_rate=0.03, schedule="constant", validate_every=300, checkpoint_every=300, threads=1'
    quiet(
        parse_config(f'model={{name="linear_ar", order=2}}\ndata.path="ar.npz"\ntrain={{{options}}}', tmp_path), tmp_path / "run"
    )
    params = load_run(tmp_path / "run").params
    np.testing.assert_allclose(params["ar.weight"][0, 0], [0, 0.8], atol=0.1)  # 1200 samples: a standard error of 0.03


@pytest.mark.parametrize(
    ("edits", "error", "message"),
    [
        ({"classes = 4": "classes = 3"}, InputError, "expects 3 classes over time, got 4 classes"),
        ({"class:2": "class:3"}, None, ""),
        ({"class:2": "vector:2"}, InputError, "condition: .* expects 2 channels constant, got 2 classes"),
        ({"threads": 'augment = "shift"\nthreads'}, InputError, "'shift' needs pictures, but data 'my.npz' has no picture shape"),
        ({'path = "my.npz"': 'path = "none.npz"'}, FileError, "there is no such file"),
        ({"threads": 'device = "cuda"\nthreads'}, BackendError, "PyTorch finds no CUDA device"),
        ({"batch = 8": "batch = 64"}, InputError, "train.batch: expected at most the 32 training sequences of 'my.npz', got 64"),
        ({"seed = 3": "seed = 99999999999999999999"}, InputError, "seed: expected an integer from 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(config, tmp_path, edits, error, message):
    if "cuda" in str(edits) and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    text = TEXT
    for old, new in edits.items():
        text = text.replace(old, new)
    if error is None:
        assert quiet(parse_config(text, tmp_path), tmp_path / "run", until=1).step == 1
        return
    with pytest.raises(error, match=message):
        quiet(parse_config(text, tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flaw", ["not strict", "no head", "no parameters"])
def test_graphs_that_cannot_be_trained(tmp_path, flaw):
    g = refar.Builder()
    h = g.one_hot(g.input(classes=17))
    h = h if flaw == "not strict" else g.delay(h)
    h = h if flaw == "no parameters" else g.conv1d(h, 17)
    refar.save(g.build(h, None if flaw == "no head" else refar.ops.Categorical()), tmp_path / "net.json")
    message = {"not strict": "training needs a strict graph", "no head": "with a head", "no parameters": "with parameters"}[flaw]
    with pytest.raises(GraphError, match=message):
        quiet(parse_config('model.graph = "net.json"\ndata.name = "digits"', tmp_path), tmp_path / "run")


def test_a_run_stands_alone(config, tmp_path):
    refar.save(config.graph, tmp_path / "net.json")
    config = msgspec.structs.replace(config, model={"graph": str(tmp_path / "net.json")})
    quiet(config, tmp_path / "run", until=5)
    (tmp_path / "net.json").unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert quiet(tmp_path / "moved" / "config.toml", tmp_path / "moved", resume=True).finished
    assert load_run(tmp_path / "moved").config.graph == load_run(tmp_path / "moved").graph


def test_runs_that_cannot_be_loaded(config, tmp_path):
    run = tmp_path / "run"
    for path, message in ((run, "got nothing"), (tmp_path / "my.npz", "got a file"), (tmp_path, "graph.json is missing")):
        with pytest.raises(FileError, match=message):
            load_run(path)
    quiet(config, run, until=1)
    with pytest.raises(FileError, match=r"weights\.safetensors is missing; the first validation writes it"):
        load_run(run)
    quiet(config, run, resume=True)
    refar.save(models.linear_ar(2), run / "graph.json")
    with pytest.raises(FileError, match="belongs to another graph"):
        load_run(run)


def test_weights_that_were_lost_come_back(config, tmp_path):
    quiet(config, tmp_path / "run", until=10)
    (tmp_path / "run" / "weights.safetensors").unlink()
    quiet(config, tmp_path / "run", resume=True, until=15)
    assert load_run(tmp_path / "run").params
