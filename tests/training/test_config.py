"""The training config: strict, and the same after being written."""

import pytest

import refar
from refar import models
from refar.errors import FileError, GraphError, InputError
from refar.training.config import load_config, parse_config, to_toml

TEXT = """
[model]
name = "wavenet"
classes = 17
dilations = [1, 2]
condition = "class:10"
[data]
name = "digits"
[train]
steps = 20
learning_rate = 1e-3
betas = [0.9, 0.99]
"""


def test_reads_and_writes():
    config = parse_config(TEXT)
    assert config.graph == models.wavenet(17, [1, 2], condition="class:10")
    assert (config.data.source, config.train.steps, config.train.batch, config.train.betas) == ("digits", 20, 64, (0.9, 0.99))
    assert parse_config(to_toml(config)) == config


def test_text_survives():
    config = parse_config(TEXT.replace('"digits"', '"a\\\\b\\"c\\u007f\\u00e9\\n"'))
    assert config.data.name == 'a\\b"c\x7fé\n'
    assert parse_config(to_toml(config)) == config


def test_paths_are_relative_to_the_file(tmp_path):
    refar.save(models.linear_ar(3), tmp_path / "net.json")
    (tmp_path / "my.toml").write_text('model.graph = "net.json"\ndata.path = "my.npz"\n')
    config = load_config(tmp_path / "my.toml")
    assert config.graph == models.linear_ar(3)
    assert config.data.source == str(tmp_path / "my.npz")
    assert parse_config(to_toml(config), "/elsewhere") == config


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("steps", "stepz", InputError, "^config: train: unknown field `stepz`; did you mean `steps`?"),
        ("steps", "zzz", InputError, "train: unknown field `zzz`; the fields are steps, batch"),
        ("[train]", "[tarin]", InputError, "unknown field `tarin`; did you mean `train`"),
        ('name = "digits"', 'nam = "digits"', InputError, "data: unknown field `nam`; did you mean `name`"),
        ("steps = 20", "steps = 0", InputError, "train.steps: expected an integer ≥ 1, got 0$"),
        ("steps = 20", 'steps = "20"', InputError, "train.steps: expected an integer, got '20'$"),
        ("steps = 20", 'schedule = "cos"', InputError, "train.schedule: expected 'constant' or 'cosine', got 'cos'$"),
        ("1e-3", "nan", InputError, r"train.learning_rate: expected a number > 0\.0, got nan$"),
        ("1e-3", "inf", InputError, "learning_rate: expected a finite number, got inf"),
        ("1e-3", "0.0", InputError, r"train.learning_rate: expected a number > 0\.0, got 0\.0$"),
        ("0.99]", "1.0]", InputError, r"train\.betas\[1\]: expected a number < 1\.0, got 1\.0$"),
        ("0.99]", "0.99, 1]", InputError, r"train\.betas: expected a list of length 2, got \[0.9, 0.99, 1\]$"),
        ('[data]\nname = "digits"\n', "", InputError, r"expected a table \[data\]"),
        ('name = "digits"', "", InputError, "expected either `name`, a built-in data set, or `path`"),
        ('name = "digits"', 'name = "digits"\npath = "a"', InputError, "expected either `name`"),
        ('name = "wavenet"', "", InputError, "model: expected either `name`, a built-in model, or `graph`"),
        ('name = "wavenet"', 'graph = "a.json"', InputError, "`graph` takes no options, got"),
        ('name = "wavenet"', "name = 3", InputError, "model: expected text for `name` or `graph`, got 3"),
        ("[model]", "[model", InputError, "not TOML"),
        ("wavenet", "wavnet", GraphError, "did you mean 'wavenet'"),
        ("dilations", "dilation", GraphError, "no option 'dilation', did you mean 'dilations'"),
        ("classes = 17", 'classes = "many"', GraphError, "option 'classes': Expected `int`, got 'many'"),
        ("classes = 17", 'classes = "17"', GraphError, "option 'classes': Expected `int`, got '17'"),
        ("[1, 2]", '"1,2"', GraphError, "option 'dilations': Expected .*, got '1,2'"),
    ],
)
def test_mistakes(old, new, error, message):
    with pytest.raises(error, match=message):
        _ = parse_config(TEXT.replace(old, new, 1)).graph


def test_sizes_of_training_are_not_those_of_graphs():
    assert parse_config(TEXT.replace("steps = 20", "steps = 20_000_000")).train.steps == 20_000_000


def test_no_condition_can_be_written():
    assert parse_config(TEXT.replace("class:10", "none")).graph == models.wavenet(17, [1, 2], condition=None)


def test_files(tmp_path):
    with pytest.raises(FileError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "my.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"my\.toml: not TOML"):
        load_config(tmp_path / "my.toml")
    (tmp_path / "my.toml").write_text('model.graph = "none.json"\ndata.name = "digits"\n')
    with pytest.raises(FileError, match=r"none\.json"):
        _ = load_config(tmp_path / "my.toml").graph
