"""generate, score, classify, export, check: what they write, beside the same thing done in Python."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from refar import Builder, data, from_json, init, models, runtime, save, to_json
from refar.cli.check import junit
from refar.data import record
from refar.testing import Line, Report
from refar.training.runs import read_record


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
        assert picture.size == (27 * 19, 27 * 19)
        grey = np.asarray(picture)[::27, ::27]
    assert np.array_equal(grey[10:18, 1:9], np.rint(255 - tokens[2].reshape(8, 8) * 224 / 16))
    assert (grey[9] == 232).all()


def test_a_picture_holds_its_prompt(refar, here):
    np.save("half.npy", np.full(32, 16))
    assert refar("generate", "bundle", "-n", 32, "--prompt", "half.npy", "--condition", 1, "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        scale = picture.size[0] // 10
        assert 512 <= picture.size[0] < 512 + 10
        assert (np.asarray(picture)[::scale, ::scale][1:5, 1:9] == 31).all()
    (here / "x.png").unlink()
    said = refar("generate", "bundle", "-n", 31, "--prompt", "half.npy", "--condition", 1, "-o", "x.png")
    assert said.sentence == "pictures of 8x8 need 64 tokens each, got 31 after 32 of the prompt"


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


def test_data_under_the_network_s_own_names(refar, here, tmp_path):
    from refar_export import export

    graph = models.wavenet(17, [1, 2], residual=4, gate=4, skip=4, condition="vector:2")
    x, c = np.arange(24).reshape(3, 8) % 17, np.random.default_rng(0).normal(size=(3, 2)).round(3)
    text = to_json(graph).replace(b'"condition"', b'"speaker"')
    graph = from_json(text)
    export(graph, init(graph, seed=1), "own")
    session = runtime.load("own")
    expected = session.score(x, c)
    np.savez("own.npz", x=x, speaker=c)
    np.savez("plain.npz", x=x.astype(float), condition=c)
    np.savez("both.npz", x=x, speaker=c, condition=c)
    np.savetxt("x.csv", x, fmt="%d", delimiter=",")
    np.savetxt("c.csv", c, delimiter=",")
    for arguments in (["own.npz"], ["plain.npz"], ["x.csv", "--condition", "c.csv"], ["x.csv", "--condition", "speaker=c.csv"]):
        assert refar("score", "own", *arguments, "-o", "p.npy").code == 0
        assert np.allclose(np.load("p.npy"), expected, rtol=1e-6)
    assert "'speaker' is given twice" in refar("score", "own", "both.npz").sentence
    assert refar("score", "own", "x.csv", "--condition", "0.5,1", "-o", "p.npy").code == 0
    assert np.allclose(np.load("p.npy"), session.score(x, np.array([[0.5, 1.0]] * 3)), rtol=1e-6)
    assert refar("score", "own", "own.npz", "--condition", "0.5,1", "-o", "q.npy").code == 0
    assert np.array_equal(np.load("p.npy"), np.load("q.npy"))


def test_whole_numbers_serve_a_signal(refar, here):
    from refar_export import export

    graph = models.linear_ar(2)
    export(graph, init(graph, seed=1), "signal")
    x = np.arange(12).reshape(2, 6)
    np.savetxt("x.csv", x, fmt="%d", delimiter=",")
    np.save("x.npy", x)
    np.save("one.npy", x[0])
    expected = runtime.load("signal").score(x[:, None].astype(float))
    for name in ("x.csv", "x.npy"):
        assert refar("score", "signal", name, "-o", "p.npy").code == 0
        assert np.array_equal(np.load("p.npy"), expected)
    assert refar("score", "signal", "one.npy", "-o", "p.npy").code == 0
    assert np.allclose(np.load("p.npy"), expected[:1])
    assert refar("generate", "signal", "-n", 3, "--prompt", "x.csv", "-o", "y.npy").code == 0
    assert np.load("y.npy").shape == (2, 1, 3)


def test_classes_may_come_as_floats(refar, here):
    tokens = np.arange(6).reshape(2, 3)
    np.save("f.npy", tokens.astype(float))
    np.save("one.npy", tokens[0])
    expected = runtime.load("bundle").generate(4, prompt=tokens, condition=4)
    assert refar("generate", "bundle", "-n", 4, "--condition", 4, "--prompt", "f.npy", "-o", "y.npy").code == 0
    assert np.array_equal(np.load("y.npy"), expected)
    assert refar("generate", "bundle", "-n", 4, "--condition", 4, "--prompt", "one.npy", "-o", "y.npy").code == 0
    assert np.array_equal(np.load("y.npy"), expected[:1])
    assert refar("classify", "bundle", "f.npy").out.splitlines()[0] == "f.npy: 2 sequences"
    assert refar("classify", "bundle", "one.npy").out.splitlines()[0] == "one.npy: 1 sequence"


def test_folders_of_outputs_are_made(refar, here):
    for i, arguments in enumerate(
        [
            ("generate", "bundle", "-n", 4, "--condition", 3, "-o", "x.npy"),
            ("score", "bundle", "digits:valid", "-o", "x.npy"),
            ("classify", "bundle", "digits:valid", "-o", "x.csv"),
            ("check", "nettoy1d:classes=5,hidden=3", "--backends", "numpy", "--json", "x.json"),
            ("inspect", "nettoy1d", "--plot", "x.png"),
            ("export", "run", "--no-check", "-o", "x"),
            ("train", "run/config.toml", "--out", "x"),
        ]
    ):
        *rest, name = arguments
        target = here / str(i) / "deep" / name
        assert refar(*rest, target).code == 0, arguments
        assert target.exists()


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


def test_classify_progressively(refar, here):
    digits = data.load("digits").valid
    expected = runtime.load("bundle").classify(digits.x, observed=[0, 16, 64]).argmax(axis=-1)
    said = refar("classify", "bundle", "digits:valid", "--progressive", "0,16,64", "-o", "y.npy")
    assert np.array_equal(np.load("y.npy"), expected)
    lines = said.out.splitlines()[1:4]
    for line, h, column in zip(lines, (0, 16, 64), expected.T, strict=True):
        assert line.startswith(f"after {h} of 64: accuracy ")
        assert line.endswith(f"({(column == digits.condition).sum()} of 137 right)")
    np.save("x.npy", digits.x[:4])
    assert refar("classify", "bundle", "x.npy", "--progressive", "16").out.splitlines()[1] == "after 16 of 64: " + " ".join(
        map(str, expected[:4, 1])
    )


def test_generate_from_the_most_probable_only(refar, here):
    assert refar("generate", "bundle", "-n", 9, "--condition", 3, "--top-k", 2, "-o", "x.npy").code == 0
    assert np.array_equal(np.load("x.npy"), runtime.load("bundle").generate(9, condition=3, top_k=2))
    assert refar("generate", "bundle", "-n", 9, "--condition", 3, "--top-k", 1, "-o", "x.npy").code == 0
    assert np.array_equal(np.load("x.npy"), runtime.load("bundle").generate(9, condition=3, temperature=0.0))


def test_generate_ahead(refar, here):
    assert refar("export", "run", "-o", "new", "--spare", 5).code == 0
    for more in ([], ["--ahead", 5]):
        options = ["--batch", 2, "--condition", "3,4", "--seed", 2, "--certify"]
        assert refar("generate", "new", "-n", 20, *options, *more, "-o", f"x{len(more)}.npy").code == 0
    assert np.array_equal(np.load("x0.npy"), np.load("x2.npy"))
    sentence = refar("generate", "new", "-n", 20, "--condition", 3, "--ahead", 6, "-o", "x.npy").sentence
    assert sentence.startswith("ahead: expected at most 5, as many steps as this bundle can take back, got 6")


def test_tokens_are_drawn_in_the_graph(refar, here):
    assert refar("export", "run", "-o", "drawing", "--sampler", "--top-k", 3).code == 0
    options = ["-n", 12, "--condition", "3,1", "--seed", 7, "--top-k", 3]
    assert refar("generate", "drawing", *options, "--sampler", "-o", "x.npy").code == 0
    expected = runtime.load("bundle").generate(12, seed=7, top_k=3, condition=[3, 1])
    assert np.array_equal(np.load("x.npy"), expected)
    said = refar("generate", "bundle", *options, "--sampler", "-o", "y.npy")
    assert said.sentence.startswith("sampler: expected a bundle with sampler.onnx, got one without")
    said = refar("export", "run", "-o", "other", "--top-k", 3)
    assert said.sentence == "top_k: expected sampler=True with it, whose model draws of so many classes; got 3"


def test_export_with_spare_steps(refar, here):
    said = refar("export", "run", "-o", "new", "--spare", "3", "--block")
    assert said.out == "wrote new: full, prefill, step and block agree with the oracle\n"
    stream = runtime.load("new").stream(condition=2)
    before = stream.push([3, 0])
    again = stream.push([16, 5, 2])
    stream.rewind(3)
    np.testing.assert_array_equal(stream.push([16, 5, 2]), again)
    assert before.shape == (1, 17, 2)
    assert refar("export", "run", "-o", "old", "--spare", "-1").sentence == ("spare: expected an integer from 0 to 65536, got -1")
    assert not (here / "old").exists()


def test_export_in_float16(refar, here):
    assert refar("export", "run", "-o", "half", "--dtype", "fp16").out.startswith(
        "wrote half: full, prefill, step and block agree"
    )
    assert runtime.load("half").manifest.dtype == "float16"
    assert "[✓] precision  off by" in refar("check", "half").out
    assert refar("export", "run", "-o", "x", "--dtype", "bf16").sentence == "--dtype: expected one of fp32, fp16, got 'bf16'"


def test_export_in_int8(refar, here):
    said = refar("export", "run", "-o", "int8", "--quantize", "int8", "--calibrate", "digits:test")
    assert said.code == 0, said
    assert said.out.startswith(
        "wrote int8: full, prefill, step and block agree with each other\nin float32 and in int8, on digits"
    )
    for row in ("nats per dimension", "models", "all files", "a step of one row"):
        assert sum(line.startswith(row) for line in said.out.splitlines()) == 1
    session, given = runtime.load("int8"), data.load("digits").splits["test"]
    nats = -session.score(given.x, given.condition).sum() / given.x.size
    assert f" {nats:.4f} " in said.out
    checked = refar("check", "int8").out
    assert "[✓] products   8 products in int8 at" in checked
    assert "nats per dimension" in checked


def test_int8_of_a_network_without_a_head(refar, here):
    from refar.cli import int8_report
    from refar.cli.examples import Examples
    from refar_export import export

    g = Builder()
    graph = g.build(g.tanh(g.conv1d(g.input(channels=2), 3, kernel=2)))
    params, x = init(graph, seed=1), np.random.default_rng(0).normal(size=(70, 2, 20)).astype(np.float32)
    path = export(graph, params, here / "effect", quantize="int8", calibration=x)
    table = int8_report.report(graph, params, path, Examples("x", x, {}, x.dtype))
    y, other = (runtime.load(each).forward(x) for each in (export(graph, params, here / "wide"), path))
    off = 100 * np.sqrt(((other - y) ** 2).sum() / (y**2).sum())
    assert next(iter(table.columns[3].cells)) == f"off by {off:.2g} %"
    assert len(table.rows) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quantize", "int4", "--calibrate", "digits"], "--quantize: expected int8, got 'int4'"),
        (["--quantize", "int8"], "--quantize and --calibrate go together; expected --calibrate DATA, from which int8 takes its"),
        (["--calibrate", "digits"], "--quantize and --calibrate go together; expected --quantize int8, too"),
        (["--quantize", "int8", "--calibrate", "nothing.npy"], "data 'nothing.npy' is neither a file nor a data set"),
        (["--quantize", "int8", "--calibrate", "digits", "--dtype", "fp16"], "quantize: int8 goes with dtype 'float32'"),
    ],
)
def test_int8_that_cannot_be(refar, here, options, said):
    assert refar("export", "run", "-o", "x", *options).sentence.startswith(said)
    assert not (here / "x").exists()


def test_export_knows_the_data(refar, here):
    said = refar("export", "run", "-o", "new")
    assert said.code == 0
    assert "agree with the oracle" in said.out
    metadata = runtime.load("new").manifest.metadata
    assert {name: metadata[name] for name in ("data", "picture")} == {"data": "digits", "picture": "8x8"}
    assert record.from_json(metadata["record"], "it") == read_record("run")
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


def test_check_counts_what_does_not_apply_apart(refar, here):
    g = Builder()
    save(g.build(g.delay(g.input(channels=1), -1)), here / "ahead.json")
    said = refar("check", "ahead.json", "--backends", "torch", "--json", "report.json")
    assert said.code == 0, said
    assert "[-] step       does not apply: the graph looks ahead" in said.out
    assert said.out.splitlines()[-2] == "8 laws hold, 2 do not apply"
    laws = json.loads((here / "report.json").read_text())["laws"]
    assert [law["law"] for law in laws if not law["applies"]] == ["step", "block"]


def test_check_for_continuous_integration(refar, here):
    g = Builder()
    save(g.build(g.delay(g.input(channels=1), -1)), here / "ahead.json")
    assert refar("check", "ahead.json", "--backends", "torch", "--junit", "report.xml").code == 0
    suite = ElementTree.parse(here / "report.xml").getroot()
    assert suite.attrib == {"name": "refar check ahead.json", "tests": "10", "failures": "0", "skipped": "2"}
    skipped = {case.attrib["name"]: case[0].attrib["message"] for case in suite if case[0].tag == "skipped"}
    assert skipped.keys() == {"step", "block"}
    assert "the graph looks ahead" in skipped["step"]
    assert all(case[0].text for case in suite if case[0].tag == "system-out")


def test_a_broken_law_is_a_failure_of_junit():
    lines = (
        Line("step", "Steps give the whole.", False, "", "position 3: expected <1>, got 2"),
        Line("text", "Same bytes.", True, "8 files"),
    )
    suite = ElementTree.fromstring(junit("net.json", Report(lines)))
    assert suite.attrib["failures"] == "1"
    assert suite[0][0].attrib["message"] == "position 3: expected <1>, got 2"
    assert suite[1][0].text == "8 files"


def test_check_of_images(refar, here):
    said = refar("check", "masked_pixelcnn:classes=3,hidden=3,layers=1,channels=3,residual=false", "--backends", "torch")
    assert said.code == 0, said
    assert said.out.startswith("model masked_pixelcnn:")
    assert "[✓] causality" in said.out
    assert "[-] block      does not apply" in said.out
    assert said.out.splitlines()[-1] == "9 laws hold, 1 does not apply"


def test_check_takes_numpy_along(refar, here):
    said = refar("check", "nettoy1d:classes=5,hidden=3", "--backends", "torch")
    assert said.code == 0, said
    assert "steps by numpy float64, numpy float32" in said.out


def test_check_fails_with_exit_code_1(refar, here, monkeypatch):
    from refar.testing.contract import laws
    from refar.testing.report import ContractError

    def broken(*_: object) -> None:
        """What it says."""
        raise ContractError("here it breaks")

    monkeypatch.setitem(laws.BUNDLE_LAWS, "step", broken)
    said = refar("check", "bundle", "--json", "report.json")
    assert said.code == 1
    assert "[x] step       here it breaks" in said.out
    assert "1 of 10 laws are broken" in said.out
    assert not json.loads((here / "report.json").read_text())["passed"]
