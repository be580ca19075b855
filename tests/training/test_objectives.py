"""[loss]: each objective against the oracle, in training, in validation by pieces, and what does not fit it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import refar
from refar import Builder, Unrolling, models, ops
from refar.analysis.facts import facts
from refar.arguments.unrolling import draw_noise, draw_origins
from refar.data import Dataset, Split
from refar.errors import GraphError, InputError
from refar.oracle import losses, pairs
from refar.rounding.tolerance import tolerance
from refar.testing.contract.cases import generic_parameters
from refar.torch import Module, train
from refar.torch.fitting import check_loss
from refar.torch.objective import Objective, tensors
from refar.torch.validate import validate
from refar.torch.work import VALIDATION, plan
from refar.training.config import parse_config
from refar.training.loss_config import LossConfig

T = 12
LENGTHS = np.array([12, 9, 4, 12])


def tokens():
    """A global class, a local signal and a local class; R = 4 positions before the present."""
    g = Builder()
    h = g.embedding(g.input(classes=5), 4)
    h = g.add(
        h, g.conv1d(g.condition("pitch", channels=2, local=True), 4), g.embedding(g.condition("word", classes=3, local=True), 4)
    )
    h = g.gate(g.conv1d(h, 8, kernel=2, dilation=2, strict=True))
    h = g.add(g.conv1d(h, 4, kernel=2), g.embedding(g.condition("speaker", classes=2), 4))
    return g.build(g.conv1d(h, 5), ops.Categorical())


def effect(padding="layer"):
    """A signal onto a signal of two channels, not strict."""
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=1), 6, kernel=3, dilation=2))
    return g.build(g.conv1d(h, 2, kernel=2), padding=padding)


def channels():
    """A signal of three channels, and its local condition."""
    g = Builder()
    h = g.add(g.conv1d(g.input(channels=3), 6, kernel=2, strict=True), g.conv1d(g.condition("pitch", channels=2, local=True), 6))
    return g.build(g.conv1d(g.tanh(h), 6, kernel=2), ops.LearntGaussian())


def signals(rng, lengths=None, rows=4):
    return Split(rng.normal(size=(rows, 3, T)), {"pitch": rng.normal(size=(rows, 2, T))}, None, lengths)


def split(rng, lengths=None, rows=4):
    conditions = {
        "pitch": rng.normal(size=(rows, 2, T)),
        "word": rng.integers(0, 3, (rows, T)),
        "speaker": rng.integers(0, 2, rows),
    }
    return Split(rng.integers(0, 5, (rows, T)), conditions, None, lengths)


def pair(rng, lengths=None, rows=4):
    return Split(rng.normal(size=(rows, 1, T)), {}, rng.normal(size=(rows, 2, T)), lengths)


def mask_of(loss, lengths, context):
    places = np.arange(T)
    return (places >= (0 if loss.context else context)) & (places < (T if lengths is None else lengths[:, None]))


def values_of(x):
    """Count the values of a position."""
    return x.shape[1] if x.ndim == 3 else 1


def by_oracle(graph, params, loss, examples, seed, step):
    """The loss and its gradient, from the oracle's parts."""
    x, condition, lengths = examples.x, examples.conditions, examples.lengths
    y = refar.forward(graph, params, x, condition)
    context = facts(graph).left_context
    mask = np.broadcast_to(mask_of(loss, lengths, context), (len(x), T))
    if loss.kind == "nats":
        d = mask / mask.sum() / values_of(x)
        value, dy = (losses.nats(graph.head, y, x) * d).sum(), losses.nats_backward(graph.head, y, x, d)
    elif loss.kind == "mse":
        d = mask.sum(axis=1) / mask.sum()
        value, dy = (
            (pairs.mean_square(y, examples.target, mask) * d).sum(),
            pairs.mean_square_backward(y, examples.target, mask, d),
        )
    else:
        d = mask.any(axis=1) / mask.any(axis=1).sum()
        options = {"pre_emphasis": loss.pre_emphasis, "dc": loss.dc}
        value = (pairs.error_to_signal(y, examples.target, mask, **options) * d).sum()
        dy = pairs.error_to_signal_backward(y, examples.target, mask, d, **options)
    gradient = refar.backward(graph, params, x, loss.one_step * dy, condition)["params"]
    if not loss.horizon:
        return value, gradient
    unrolling, rows = Unrolling(loss.horizon, loss.feedback or "straight-through", loss.temperature), range(len(x))
    lengths = np.full(len(x), T) if lengths is None else lengths
    origins = draw_origins(seed, step, rows, loss.origins, 0 if loss.context else context, lengths, loss.horizon)
    noise = draw_noise(graph, seed, step, rows, loss.origins, unrolling)
    count = (origins >= 0).sum() * loss.horizon * values_of(x)
    d = np.broadcast_to((origins >= 0)[:, :, None] / count, (*origins.shape, loss.horizon))
    options = {"noise": noise, "condition": condition}
    each = refar.unroll(graph, params, x, np.maximum(origins, 0), unrolling, **options)
    more = refar.unroll_backward(graph, params, x, np.maximum(origins, 0), unrolling, loss.unrolled * d, **options)["params"]
    return loss.one_step * value + loss.unrolled * (d * each).sum(), {name: gradient[name] + more[name] for name in gradient}


CASES = {
    "nats": (tokens(), LossConfig(), None),
    "nats, lengths": (tokens(), LossConfig(), LENGTHS),
    "nats, no context": (tokens(), LossConfig(context=False), LENGTHS),
    "nats of channels": (channels(), LossConfig(context=False), LENGTHS),
    "unrolled channels": (channels(), LossConfig(horizon=3, origins=2, unrolled=0.5, feedback="sample"), LENGTHS),
    "unrolled": (tokens(), LossConfig(horizon=3, origins=2, unrolled=0.5, temperature=0.7), None),
    "unrolled, soft, lengths": (tokens(), LossConfig(horizon=3, origins=2, one_step=0.3, feedback="gumbel-softmax"), LENGTHS),
    "unrolled alone, no context": (tokens(), LossConfig(horizon=4, one_step=0.0, context=False, origins=3), LENGTHS),
    "mse": (effect(), LossConfig(kind="mse"), None),
    "mse, no context": (effect(), LossConfig(kind="mse", context=False), LENGTHS),
    "esr": (effect(), LossConfig(kind="esr", pre_emphasis=0.85, dc=1.0), None),
    "esr, no context": (effect(), LossConfig(kind="esr", pre_emphasis=0.85, context=False), LENGTHS),
}  # fmt: skip


def case(name):
    graph, loss, lengths = CASES[name]
    rng = np.random.default_rng(0)
    kind = pair if loss.kind != "nats" else signals if "channels" in name else split
    examples = kind(rng, lengths)
    return graph, loss, examples, generic_parameters(graph, rng)


@pytest.mark.row("002-9")
@pytest.mark.row("002-10")
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_oracle(name):
    graph, loss, examples, params = case(name)
    wanted, gradients = by_oracle(graph, params, loss, examples, 3, 8)
    module = Module(graph, params).double()
    objective = Objective(module, loss)
    work, counts = plan(graph, loss, examples, 3, 8, slice(None))
    found = objective.total(objective(**tensors(work, module, torch.device("cpu"))), counts)
    found.backward()
    scale = np.array([max(np.abs(a).max() for a in gradients.values()), wanted])
    allowed = max(1, loss.horizon) * tolerance(graph, scale, "float64", positions=4 * T)
    assert found.item() == pytest.approx(wanted, abs=allowed)
    for key, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), gradients[key], rtol=0, atol=allowed, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_batch_add_up_to_it(name):
    """As several processes or parts of a step have them: rows keep their noise and their origins."""
    graph, loss, examples, params = case(name)
    module = Module(graph, params).double()
    objective = Objective(module, loss)
    whole, counts = plan(graph, loss, examples, 3, 8, slice(None))
    sums = objective(**tensors(whole, module, torch.device("cpu")))
    parts = [plan(graph, loss, examples, 3, 8, rows) for rows in (slice(0, 1), slice(1, 4))]
    assert all(count == counts for _, count in parts)
    added = sum(objective(**tensors(work, module, torch.device("cpu"))) for work, _ in parts)
    torch.testing.assert_close(added, sums, rtol=1e-13, atol=0)
    again = sum(objective(**tensors(whole[rows], module, torch.device("cpu"))) for rows in (slice(0, 3), slice(3, 4)))
    torch.testing.assert_close(again, sums, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_validation_in_pieces(name):
    graph, loss, examples, params = case(name)
    objective = Objective(Module(graph, params).double(), loss)
    whole = validate(objective, examples, 3)
    assert list(whole) == list(dict.fromkeys([*loss.terms, loss.unit]))
    wanted, _ = by_oracle(graph, params, loss, examples, 3, VALIDATION)
    assert whole[loss.unit] == pytest.approx(wanted, rel=1e-12)
    for rows, values in [(1, 2**20), (3, 8 * 7), (256, 1)]:
        assert validate(objective, examples, 3, rows, values) == pytest.approx(whole, rel=1e-12)


def test_what_is_behind_a_length_has_no_effect():
    graph, loss, examples, params = case("unrolled, soft, lengths")
    objective = Objective(Module(graph, params), loss)
    behind = np.arange(T) >= LENGTHS[:, None]
    other = replace(
        examples,
        x=np.where(behind, (examples.x + 1) % 5, examples.x),
        conditions={**examples.conditions, "pitch": np.where(behind[:, None], 7.0, examples.conditions["pitch"])},
    )
    assert validate(objective, other, 3) == validate(objective, examples, 3)


def test_valid_padding_maps_what_has_its_window():
    graph, rng = effect("valid"), np.random.default_rng(0)
    examples, params = pair(rng), generic_parameters(graph, rng)
    y = refar.forward(graph, params, examples.x)
    found = validate(Objective(Module(graph, params).double(), LossConfig(kind="mse")), examples, 0)["mse"]
    assert found == pytest.approx(((y - examples.target[:, :, 5:]) ** 2).mean(), rel=1e-13)


TOKENS = """
model.graph = "net.json"
data.path = "my.npz"
[loss]
{loss}
[train]
steps = 12
batch = 8
learning_rate = 1e-2
validate_every = 4
checkpoint_every = 5
seed = 3
threads = 1
{train}
"""


def write(folder, graph, examples, loss, options=""):
    refar.save(graph, folder / "net.json")
    arrays = {"x": examples.x, "target": examples.target, "lengths": examples.lengths}
    arrays |= {f"condition_{name}": array for name, array in examples.conditions.items()}
    np.savez(folder / "my.npz", **{name: array for name, array in arrays.items() if array is not None})
    return parse_config(TOKENS.format(loss=loss, train=options), folder)


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


UNROLLED = "horizon = 3\norigins = 2\nunrolled = 0.5"


@pytest.mark.row("002-9")
@pytest.mark.row("002-10")
@pytest.mark.parametrize("options", ["", "accumulate = 3", "ema = 0.9", 'precision = "bf16"'])
def test_training_that_unrolls(tmp_path, options):
    """With global and local conditions and lengths; it learns, resumes bit for bit, and its log says every part."""
    rng = np.random.default_rng(0)
    config = write(tmp_path, tokens(), split(rng, rng.integers(2, T + 1, 60), rows=60), UNROLLED, options)
    train(config, tmp_path / "whole", progress=False)
    train(config, tmp_path / "parts", progress=False, until=7)
    train(config, tmp_path / "parts", progress=False, resume=True)
    for name in ("weights.safetensors", "config.toml"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    found = lines(tmp_path / "whole")
    assert list(found[0]) == ["step", "train_loss", "valid_loss", "valid_nats", "valid_unrolled", "valid_bits", "lr", "seconds"]
    assert found[0]["valid_loss"] == pytest.approx(found[0]["valid_nats"] + 0.5 * found[0]["valid_unrolled"])
    assert found[-1]["train_loss"] < found[0]["train_loss"]


def test_training_of_pairs(tmp_path, capsys):
    """An effect that the network can have exactly; the error is told in its own unit."""
    rng = np.random.default_rng(0)
    examples = pair(rng, rows=40)
    truth = generic_parameters(effect(), np.random.default_rng(1))
    examples = replace(examples, target=refar.forward(effect(), truth, examples.x))
    config = write(tmp_path, effect(), examples, 'kind = "esr"\npre_emphasis = 0.85\ncontext = false')
    config = replace_train(config, steps=200, validate_every=100)
    result = train(config, tmp_path / "run")
    found = lines(tmp_path / "run")
    assert list(found[0]) == ["step", "train_esr", "valid_esr", "lr", "seconds"]
    assert result.best_nats == min(line["valid_esr"] for line in found) < 0.1
    assert "esr: train" in capsys.readouterr().err


def replace_train(config, **options):
    from msgspec.structs import replace as changed

    return changed(config, train=changed(config.train, **options))


def test_a_resumed_run_keeps_its_loss(tmp_path):
    config = write(tmp_path, tokens(), split(np.random.default_rng(0), rows=40), UNROLLED)
    train(config, tmp_path / "run", progress=False, until=2)
    other = parse_config(TOKENS.format(loss="horizon = 4", train=""), tmp_path)
    with pytest.raises(InputError, match=r"loss\.horizon: expected 3, as the run began, .* got 4"):
        train(other, tmp_path / "run", progress=False, resume=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "nat"', "loss.kind: expected 'nats' or 'mse' or 'esr', got 'nat'"),
        ("horizn = 3", "loss: unknown field `horizn`; did you mean `horizon`?"),
        ("horizon = -1", "loss.horizon: expected an integer ≥ 0, got -1"),
        ("horizon = 2\ntemperature = 0.0", r"loss.temperature: expected a number > 0\.0, got 0\.0"),
        ("horizon = 2\ntemperature = inf", "temperature: expected a finite number, got inf"),
        ("horizon = 2\norigins = 0", "loss.origins: expected an integer ≥ 1, got 0"),
        ('horizon = 2\nfeedback = "hard"', "loss.feedback: expected 'straight-through' or .* got 'hard'"),
        ("temperature = 0.5", "temperature: expected a horizon beside it, how many tokens are fed back; there is none"),
        ('kind = "mse"\nhorizon = 2', "horizon: expected kind = 'nats' beside it, got 'mse'"),
        ("pre_emphasis = 0.85", "pre_emphasis: expected kind = 'esr' beside it, got 'nats'"),
        ("horizon = 2\none_step = 0\nunrolled = 0", "one_step, unrolled: expected one of them > 0"),
    ],
)
def test_tables_that_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_config(TOKENS.format(loss=text, train=""))


def dataset(examples, name="my.npz"):
    return Dataset(name, examples, examples[:2], examples[:2])


@pytest.mark.parametrize(
    ("graph", "loss", "examples", "error", "message"),
    [
        (tokens(), LossConfig(horizon=13), split, InputError, "expected at most the 12 positions of the longest training"),
        (tokens(), LossConfig(horizon=9, context=False), split, InputError, "of which the first 4 are left out .* got 9"),
        (tokens(), LossConfig(horizon=8, origins=6), split, InputError, "loss.origins: expected at most 5, as many positions"),
        (tokens(), LossConfig(horizon=2, feedback="mean"), split, InputError, "loss.feedback: expected 'straight-through' or"),
        (tokens(), LossConfig(kind="mse"), split, InputError, "'mse' needs data with a target, which 'my.npz' has not"),
        (effect(), LossConfig(), pair, GraphError, "training needs a strict graph"),
        (models.linear_ar(2), LossConfig(), pair, InputError, "has a target, which the loss 'nats' does not read"),
        (models.linear_ar(2), LossConfig(kind="mse"), pair, InputError, "target: expected the 1 channels .* got 2"),
        (models.pixelcnn(4, hidden=2), LossConfig(context=False), split, InputError, "loss.context: expected true for images"),
        (models.pixelcnn(4, hidden=2), LossConfig(kind="mse"), split, GraphError, "needs a network whose output is a signal"),
        (models.pixelcnn(4, hidden=2), LossConfig(horizon=2), split, GraphError, "unrolling expects a graph over time"),
        (models.nettoy1d_dilated(5), LossConfig(context=False), split, InputError, "position of its training .* first 31 are"),
    ],
)  # fmt: skip
def test_what_does_not_fit(graph, loss, examples, error, message):
    with pytest.raises(error, match=message):
        check_loss(loss, graph, dataset(examples(np.random.default_rng(0))))
