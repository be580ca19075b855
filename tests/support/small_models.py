"""Every built-in model, small."""

from __future__ import annotations

from refar import Graph, models


def small_wavenet(condition: str | None = "class:3") -> Graph:
    return models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition=condition)


MODELS = {
    "linear_ar": models.linear_ar(4),
    "nettoy1d": models.nettoy1d(7, hidden=8, mean=3.0, std=2.0),
    "nettoy1d_dilated": models.nettoy1d_dilated(7, hidden=8, mean=3.0, std=2.0),
    "wavenet": small_wavenet(None),
    "wavenet_class": small_wavenet("class:3"),
    "wavenet_vector": small_wavenet("vector:3"),
    "wavenet_dense": models.wavenet(5, [1, 2, 4], residual=3, gate=4, skip=7, merge="concat"),
    "tcn": models.tcn(5, [4, 4, 6], kernel=2),
}

IMAGE_MODELS = {
    "pixelcnn": models.pixelcnn(4, kernel=3, hidden=3, position=2, condition="class:3"),
    "pixelcnn_rgb_mixture": models.pixelcnn(5, channels=3, kernel=3, hidden=2, mixture=2),
    "masked": models.masked_pixelcnn(4, layers=2, hidden=5, kernel=3, first_kernel=3, residual=False, condition="vector:3"),
    "masked_rgb": models.masked_pixelcnn(3, channels=3, layers=1, hidden=3, kernel=3, first_kernel=5),
    "gated_class": models.gated_pixelcnn(4, layers=2, hidden=5, kernel=3, first_kernel=5, condition="class:3"),
    "gated_rgb_map": models.gated_pixelcnn(3, channels=3, layers=2, hidden=3, kernel=3, first_kernel=3, local="vector:2"),
}
