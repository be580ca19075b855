"""The training config: strict, and the same after being written."""

import pytest

from refar import graph as graphs
from refar import models
from refar.config import load_config, parse_config, to_toml
from refar.errors import FileError, GraphError, InputError

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
    graphs.save(models.linear_ar(3), tmp_path / "net.json")
    (tmp_path / "my.toml").write_text('model.graph = "net.json"\ndata.path = "my.npz"\n')
    config = load_config(tmp_path / "my.toml")
    assert config.graph == models.linear_ar(3)
    assert config.data.source == str(tmp_path / "my.npz")
    assert parse_config(to_toml(config), "/elsewhere") == config


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("steps", "stepz", InputError, r"unknown field `stepz` - at `\$\.train`; did you mean `steps`"),
        ("steps", "zzz", InputError, r"unknown field `zzz` - at `\$\.train`; the fields are steps, batch"),
        ("[train]", "[tarin]", InputError, "unknown field `tarin`; did you mean `train`"),
        ('name = "digits"', 'nam = "digits"', InputError, r"`nam` - at `\$\.data`; did you mean `name`"),
        ("steps = 20", "steps = 0", InputError, r"Expected `int` >= 1 - at `\$\.train\.steps`"),
        ("steps = 20", 'steps = "20"', InputError, r"Expected `int`, got `str` - at `\$\.train\.steps`"),
        ("1e-3", "nan", InputError, r"Expected `float` > 0\.0 - at `\$\.train\.learning_rate`"),
        ("1e-3", "inf", InputError, "learning_rate: expected a finite number, got inf"),
        ("1e-3", "0.0", InputError, r"at `\$\.train\.learning_rate`"),
        ("0.99]", "1.0]", InputError, r"Expected `float` < 1\.0 - at `\$\.train\.betas\[1\]`"),
        ('[data]\nname = "digits"\n', "", InputError, "missing required field `data`"),
        ('name = "digits"', "", InputError, "expected either `name`, a built-in data set, or `path`"),
        ('name = "digits"', 'name = "digits"\npath = "a"', InputError, "expected either `name`"),
        ('name = "wavenet"', "", InputError, "model: expected either `name`, a built-in model, or `graph`"),
        ('name = "wavenet"', 'graph = "a.json"', InputError, "`graph` takes no options, got"),
        ('name = "wavenet"', "name = 3", InputError, "model: expected text for `name` or `graph`, got 3"),
        ("[model]", "[model", InputError, "not TOML"),
        ("wavenet", "wavnet", GraphError, "did you mean 'wavenet'"),
        ("dilations", "dilation", GraphError, "no option 'dilation', did you mean 'dilations'"),
        ("classes = 17", 'classes = "many"', GraphError, "option 'classes'"),
    ],
)
def test_mistakes(old, new, error, message):
    with pytest.raises(error, match=message):
        _ = parse_config(TEXT.replace(old, new, 1)).graph


def test_files(tmp_path):
    with pytest.raises(FileError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "my.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"my\.toml: not TOML"):
        load_config(tmp_path / "my.toml")
    (tmp_path / "my.toml").write_text('model.graph = "none.json"\ndata.name = "digits"\n')
    with pytest.raises(FileError, match=r"none\.json"):
        _ = load_config(tmp_path / "my.toml").graph
