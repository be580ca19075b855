"""generate, score, classify, export, check: what they write, beside the same thing done in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from refar import data, runtime


def test_generate_npy_and_csv(refar, here):
    options = ["-n", 5, "--condition", "3,1", "--seed", 7, "--temperature", 0.5]
    assert refar("generate", "bundle", *options, "-o", "x.npy").code == 0
    assert refar("generate", "bundle", *options, "-o", "x.csv").code == 0
    expected = runtime.load("bundle").generate(5, seed=7, temperature=0.5, condition=[3, 1])
    assert np.array_equal(np.load("x.npy"), expected)
    assert np.array_equal(np.loadtxt("x.csv", delimiter=",", dtype=int), expected)


def test_generate_goes_on_from_a_prompt(refar, here):
    np.save("prompt.npy", np.arange(6).reshape(2, 3))
    np.savetxt("prompt.csv", np.arange(6).reshape(2, 3), fmt="%d", delimiter=",")
    np.save("condition.npy", np.array([4, 5]))
    for kind in ("npy", "csv"):
        said = refar(
            "generate", "bundle", "-n", 4, "--prompt", f"prompt.{kind}", "--condition", "condition.npy", "-o", f"{kind}.npy"
        )
        assert "2 sequences of 4 tokens" in said.out
    expected = runtime.load("bundle").generate(4, prompt=np.arange(6).reshape(2, 3), condition=[4, 5])
    assert np.array_equal(np.load("npy.npy"), expected)
    assert np.array_equal(np.load("csv.npy"), expected)


def test_generate_pictures(refar, here):
    said = refar("generate", "bundle", "-n", 64, "--condition", 3, "--batch", 4, "-o", "x.png")
    assert said.code == 0
    tokens = runtime.load("bundle").generate(64, batch=4, condition=3)
    with Image.open("x.png") as picture:
        grey = np.asarray(picture)[::6, ::6]
    assert grey.shape == (19, 19)
    assert np.array_equal(grey[10:18, 1:9], np.rint(tokens[2].reshape(8, 8) * 255 / 16))
    assert (grey[9] == 255).all()


def test_a_picture_holds_its_prompt(refar, here):
    np.save("half.npy", np.full(32, 16))
    assert refar("generate", "bundle", "-n", 32, "--prompt", "half.npy", "--condition", 1, "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        assert (np.asarray(picture)[::6, ::6][1:5, 1:9] == 255).all()


def test_generate_nothing(refar, here):
    for name in ("x.npy", "x.csv"):
        assert refar("generate", "bundle", "-n", 0, "--condition", 3, "-o", name).code == 0
    assert np.load("x.npy").shape == (1, 0)


def test_score(refar, here):
    digits = data.load("digits").test
    log_p = runtime.load("bundle").score(digits.x, digits.condition)
    said = refar("score", "bundle", "digits", "-o", "p.npy")
    assert said.code == 0
    assert np.allclose(np.load("p.npy"), log_p, rtol=1e-6)
    nats = -log_p.mean() / 64
    assert f"{nats:.4f} nats = {nats / np.log(2):.4f} bits" in said.out
    np.savez("mine.npz", x=digits.x, condition=digits.condition)
    assert refar("score", "bundle", "mine.npz").out.splitlines()[1:] == said.out.splitlines()[1:-1]


def test_score_table_under_a_given_condition(refar, here):
    x = data.load("digits").test.x[:3]
    np.savetxt("x.csv", x, fmt="%d", delimiter=",")
    assert refar("score", "bundle", "x.csv", "--condition", 2, "-o", "p.csv").code == 0
    assert np.allclose(np.loadtxt("p.csv"), runtime.load("bundle").score(x, [2, 2, 2]), rtol=1e-6)


def test_classify(refar, here):
    digits = data.load("digits").valid
    expected = runtime.load("bundle").classify(digits.x).argmax(axis=1)
    said = refar("classify", "bundle", "digits:valid", "-o", "y.npy")
    assert np.array_equal(np.load("y.npy"), expected)
    assert f"{(expected == digits.condition).sum()} of 137 right" in said.out
    np.save("x.npy", digits.x[:4])
    assert refar("classify", "bundle", "x.npy").out.splitlines()[1] == " ".join(map(str, expected[:4]))


def test_export_knows_the_data(refar, here):
    said = refar("export", "run", "-o", "new")
    assert said.code == 0
    assert "agree with the oracle" in said.out
    assert runtime.load("new").manifest.metadata == {"data": "digits", "picture": "8x8"}
    assert refar("export", "run", "-o", "new").sentence.endswith("--force to replace a bundle")
    assert refar("export", "run", "-o", "new", "--force", "--no-check").code == 0


@pytest.mark.parametrize("source", ["nettoy1d:classes=5,hidden=3", "run", "bundle"])
def test_check(refar, here, source):
    options = [] if source == "bundle" else ["--backends", "numpy"]
    said = refar("check", source, *options, "--json", "report.json")
    assert said.code == 0, said
    report = json.loads((here / "report.json").read_text())
    assert report["passed"]
    assert said.out.count("[✓]") == len(report["laws"])
    assert all(law["figure"] for law in report["laws"])


def test_check_fails_with_exit_code_1(refar, here, monkeypatch):
    from refar.testing import laws
    from refar.testing.report import ContractError

    def broken(*_: object) -> None:
        """What it says."""
        raise ContractError("here it breaks")

    monkeypatch.setitem(laws.BUNDLE_LAWS, "step", broken)
    said = refar("check", "bundle", "--json", "report.json")
    assert said.code == 1
    assert "[x] step       here it breaks" in said.out
    assert "1 of 8 laws are broken" in said.out
    assert not json.loads((here / "report.json").read_text())["passed"]
