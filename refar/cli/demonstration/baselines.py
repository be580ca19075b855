"""What a network over pixels has to beat: counts over the training split."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.data import Dataset


def nats(data: Dataset) -> dict[str, float]:
    """Nats per pixel of the test split under three models that are counted, every count starting at one.

    unigram: p(x_t). previous: p(x_t | x_{t-1}), and p(x_0) for the first pixel. marginals: p(x_t | t, class).
    """
    train, test = data.train[:].x, data.test.x
    unigram = _normalize(1.0 + np.bincount(train.ravel(), minlength=data.classes))
    pairs = np.ones((data.classes, data.classes))
    np.add.at(pairs, (train[:, :-1], train[:, 1:]), 1)
    first = _normalize(1.0 + np.bincount(train[:, 0], minlength=data.classes))
    previous = np.log(first[test[:, 0]]).sum() + np.log(_normalize(pairs)[test[:, :-1], test[:, 1:]]).sum()
    return {
        "unigram": -float(np.log(unigram[test]).mean()),
        "previous": -float(previous / test.size),
        "marginals": -float(_marginals(data)[np.arange(len(test)), data.test.condition].mean() / test.shape[1]),
    }


def accuracy(data: Dataset) -> float:
    """How often naive Bayes, the marginals of each class, finds the class of a test picture."""
    return float((_marginals(data).argmax(axis=1) == data.test.condition).mean())


def _marginals(data: Dataset) -> Array:
    """log p(x | class) = Σ_t log p(x_t | t, class) for each test picture and class."""
    train = data.train[:]
    length = train.x.shape[1]
    counts = np.ones((data.condition_classes, length, data.classes))
    assert train.condition is not None
    np.add.at(counts, (train.condition[:, None], np.arange(length), train.x), 1)
    log_p = np.log(_normalize(counts))
    return np.stack([table[np.arange(length), data.test.x].sum(axis=1) for table in log_p], axis=1)


def _normalize(counts: Array) -> Array:
    return counts / counts.sum(axis=-1, keepdims=True)
