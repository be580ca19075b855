"""The configs of training, under their public name."""

from refar.data.described import DataConfig
from refar.training.config import Config, TrainConfig, load_config, parse_config, to_toml

__all__ = ["Config", "DataConfig", "TrainConfig", "load_config", "parse_config", "to_toml"]
