"""A training run of a second."""

import msgspec

TEXT = """
[model]
name = "wavenet"
classes = 4
dilations = [1, 2]
residual = 6
gate = 6
skip = 8
condition = "class:2"
[data]
path = "my.npz"
[train]
steps = 20
batch = 8
learning_rate = 1e-2
warmup = 4
weight_decay = 0.01
ema = 0.9
gradient_clip = 1.0
validate_every = 5
checkpoint_every = 4
seed = 3
threads = 1
"""


def change(config, **options):
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, **options))
