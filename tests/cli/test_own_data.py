"""Own data from the files to generated files: trained, exported, scored on what was held out, and written back in their units."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace
from PIL import Image
from typer.testing import CliRunner

from refar import data, log_prob, runtime
from refar.analysis.facts import facts
from refar.cli import completed, samples
from refar.cli.app import app
from refar.data import record
from refar.data.described import DataConfig
from refar.data.meaning import Meaning
from refar.training.runs import load_run, read_record

RNG = np.random.default_rng(0)
SERIES = 100 + 20 * np.sin(np.arange(400) / 3) + RNG.normal(size=400)
TILES = '[data]\npath = "p.png"\nsize = "4x6"\nfit = "tiles"\nlevels = 8\n'
CONFIGS = {
    "series": '[model]\nname = "linear_ar"\norder = 3\n[data]\npath = "s.csv"\ncolumn = "level"\nwindow = 16\n',
    "levels": (
        '[model]\nname = "wavenet"\ndilations = [1, 2]\nresidual = 4\nskip = 4\n'
        '[data]\npath = "s.csv"\ncolumn = "level"\nwindow = 16\nlevels = 12\n'
    ),
    "sound": (
        '[model]\nname = "wavenet"\ndilations = [1, 2]\nresidual = 4\nskip = 4\n'
        '[data]\npath = "speech"\nrate = 8000\nwindow = 64\nlevels = 32\ncondition = "folder"\n'
    ),
    "crops": f'[model]\nname = "gated_pixelcnn"\nlayers = 1\nhidden = 6\n{TILES}',
    "pixels": f'[model]\nname = "nettoy1d"\nhidden = 4\n{TILES}',
}
TRAIN = "[train]\nsteps = 4\nbatch = 8\nthreads = 1\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the data, and a run and a bundle for each config."""
    folder, before = tmp_path_factory.mktemp("own"), Path.cwd()
    os.chdir(folder)
    lines = "\n".join(f"{t},{v:.6f}" for t, v in enumerate(SERIES))
    Path("s.csv").write_text(f"t,level\n{lines}\n")
    for speaker in ("ann", "bob"):
        Path("speech", speaker).mkdir(parents=True)
        for i in range(6):
            soundfile.write(f"speech/{speaker}/{i}.wav", 0.5 * np.sin(np.arange(300) * (i + 1) / 9), 8000)
    Image.fromarray(RNG.integers(0, 256, (48, 24, 3)).astype(np.uint8)).save("p.png")
    for name, config in CONFIGS.items():
        Path(f"{name}.toml").write_text(config + TRAIN)
        for command in (f"train {name}.toml --out run-{name}", f"export run-{name} -o {name} --no-check"):
            result = CliRunner().invoke(app, command.split())
            assert result.exit_code == 0, result.output
    yield folder
    os.chdir(before)


@pytest.fixture
def own(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in which the test runs."""
    monkeypatch.chdir(trained)
    return trained


def table(name: str) -> tuple[list[str], np.ndarray]:
    head, *lines = Path(name).read_text().splitlines()
    return head.split(","), np.array([[float(cell) for cell in line.split(",")] for line in lines])


def test_the_network_is_completed_and_the_record_kept(own):
    models = {name: load_run(f"run-{name}").config.model for name in CONFIGS}
    assert models["series"] == {"name": "linear_ar", "order": 3}
    assert models["levels"]["classes"] == 12
    assert (models["sound"]["classes"], models["sound"]["condition"]) == (32, "class:2")
    assert (models["crops"]["classes"], models["crops"]["channels"]) == (8, 3)
    for name in CONFIGS:
        kept = read_record(f"run-{name}")
        assert kept == record.record_of(kept.table, data.load(kept.table))
        last = Path(kept.table.path).name  # of the folders of this machine the bundle knows nothing
        shared = replace(kept, table=replace(kept.table, path=last), source=last)
        assert record.from_json(runtime.load(name).manifest.metadata["record"], "it") == shared


@pytest.mark.parametrize("name", CONFIGS)
def test_what_was_held_out_is_scored_from_run_and_bundle_alike(refar: Callable, own, name):
    """And equals what the oracle says of the test part."""
    said = [refar("score", source, text) for source, text in ((name, "data:test"), (f"run-{name}", "data:test"), (name, "data"))]
    assert [s.code for s in said] == [0, 0, 0], said
    assert said[0].out == said[1].out == said[2].out
    graph, params, config = load_run(f"run-{name}")
    test = data.dataset.for_graph(data.load(config.data), graph).test[:]
    nats = -log_prob(graph, params, test.x, test.condition if facts(graph).conditions else None)
    each = float(said[0].out.partition("per dimension")[2].split()[0])
    assert each == pytest.approx(nats.mean() / test.x[0].size, abs=1e-4)


def test_a_series_comes_back_in_its_units(refar, own):
    assert refar("generate", "series", "-n", 50, "-o", "x.npy", "--batch", 2, "--seed", 3).code == 0
    assert refar("generate", "series", "-n", 50, "-o", "x.csv", "--batch", 2, "--seed", 3).code == 0
    meaning = read_record("run-series").meaning
    head, values = table("x.csv")
    assert head == ["level.0", "level.1"]
    np.testing.assert_allclose(values.T, np.load("x.npy")[:, 0] * meaning.std[0] + meaning.mean[0], rtol=1e-6)
    assert 60 < values.mean() < 140
    assert refar("generate", "series", "-n", 5, "-o", "y.csv", "--prompt", "s.csv").code == 0
    head, after = table("y.csv")
    assert (head, after.shape) == (["level"], (5, 1))
    scaled = (SERIES - meaning.mean[0]) / meaning.std[0]
    expected = runtime.load("series").generate(5, prompt=np.round(scaled, 9)[None, None])
    np.testing.assert_allclose(after[:, 0], expected[0, 0] * meaning.std[0] + meaning.mean[0], atol=1e-3)
    assert refar("generate", "levels", "-n", 5, "-o", "z.csv").code == 0
    centres = runtime.load("levels").generate(5)
    np.testing.assert_allclose(table("z.csv")[1][:, 0], read_record("run-levels").meaning.decode(centres)[0, 0], rtol=1e-6)
    units = refar("score", "series", "data:test").out.partition("in the units of the file")[2].split()[0]
    plain = refar("score", "series", "data:test").out.partition("per dimension")[2].split()[0]
    assert float(units) - float(plain) == pytest.approx(np.log(meaning.std[0]), abs=2e-4)


def test_sound_comes_back_as_sound(refar, own):
    assert refar("generate", "sound", "-n", 80, "-o", "x.wav", "--condition", "bob").code == 0
    samples, rate = soundfile.read("x.wav")
    meaning = read_record("run-sound").meaning
    expected = meaning.decode(runtime.load("sound").generate(80, condition=[1]))[0, 0]
    assert (rate, soundfile.info("x.wav").subtype) == (8000, "PCM_16")
    np.testing.assert_allclose(samples, expected, atol=2**-15)
    said = refar("generate", "sound", "-n", 8, "-o", "two/y.wav", "--condition", "ann,bob")
    assert "wrote two/y-0.wav to y-1.wav" in said.out
    assert sorted(path.name for path in Path("two").iterdir()) == ["y-0.wav", "y-1.wav"]
    assert refar("generate", "sound", "-n", 8, "-o", "z.wav", "--condition", 0, "--prompt", "x.wav").code == 0
    assert refar("generate", "sound", "-n", 8, "-o", "z.csv", "--condition", 0).code == 0


def test_pixels_of_three_values_one_after_the_other_do_not_move(refar, own):
    Path("moved.toml").write_text(CONFIGS["pixels"] + TRAIN + 'augment = "shift"\n')
    said = refar("train", "moved.toml", "--out", "moved").sentence
    assert "each pixel of data 'p.png' is 3 values, one after the other" in said


def test_pictures_come_back_in_colour(refar, own):
    assert refar("generate", "crops", "-n", 4, "-o", "x.png").code == 0
    assert refar("generate", "pixels", "-n", 72, "--batch", 4, "-o", "y.png").code == 0
    assert refar("generate", "pixels", "-n", 72, "--batch", 4, "-o", "y.npy").code == 0
    for name in ("x.png", "y.png"):
        assert np.asarray(Image.open(name)).shape[2] == 3
    sheet = np.asarray(Image.open("y.png"))
    scale = -(-512 // 15)
    assert sheet.shape == (11 * scale, 15 * scale, 3)
    tile = sheet[scale // 2 :: scale, scale // 2 :: scale][1:5, 1:7]
    np.testing.assert_array_equal(tile, np.rint(np.load("y.npy")[0].reshape(4, 6, 3) * 255 / 7))
    assert "need 72 tokens each, got 24" in refar("generate", "pixels", "-n", 24, "-o", "y.png").sentence


def test_what_was_held_out_is_completed(refar, own):
    said = refar("complete", "sound", "data:test", "--observed", 32, "--samples", 3, "--condition", "bob", "-o", "c.npy")
    assert said.code == 0, said
    assert np.load("c.npy").shape[1] == 3
    assert "speech, test split: 4 sequences, 32 positions observed" in said.out


def test_files_of_ones_own_are_scored(refar, own):
    soundfile.write("new.wav", 0.5 * np.sin(np.arange(200) / 9), 8000)
    Path("more").mkdir(exist_ok=True)
    shutil.copytree("speech", "more", dirs_exist_ok=True)
    for i, length in enumerate((40, 100, 50)):
        Path("some/ann").mkdir(parents=True, exist_ok=True)
        Path("some/bob").mkdir(parents=True, exist_ok=True)
        soundfile.write(f"some/{'bob' if i else 'ann'}/{i}.wav", np.zeros(length), 8000)
    Image.fromarray(RNG.integers(0, 256, (8, 12, 3)).astype(np.uint8)).save("q.png")
    for arguments, expected in (
        (("sound", "new.wav", "--condition", "ann"), "1 sequence of 200 dimensions"),
        (("sound", "more"), "48 sequences of 64 dimensions"),
        (("sound", "some"), "2 of 3 pieces are shorter than a window of 64 and are left out of the whole"),
        (("sound", "more:test"), "more, test split: 4 sequences of 64 dimensions"),
        (("series", "s.csv"), "1 sequence of 400 dimensions"),
        (("series", "s.csv:valid"), "2 sequences of 16 dimensions"),
        (("series", "s.csv:train"), "20 sequences of 16 dimensions"),
        (("crops", "q.png"), "4 sequences of 72 dimensions"),
        (("pixels", "q.png"), "4 sequences of 72 dimensions"),
    ):
        said = refar("score", *arguments)
        assert said.code == 0, said
        assert expected in said.out
    said = refar("classify", "sound", "data:test")
    assert "of 4 right" in said.out
    assert refar("classify", "sound", "new.wav").out.split()[-1] in ("ann", "bob")


@pytest.mark.parametrize("name", ["series", "levels"])
def test_an_array_in_units_is_scored_and_prompted_as_the_table_is(refar, own, name):
    np.save("units.npy", np.round(SERIES, 6))
    expected = refar("score", name, "s.csv").out.partition("dimensions")[2]
    assert refar("score", name, "units.npy").out.partition("dimensions")[2] == expected
    for kind, source in (("csv", "s.csv"), ("npy", "units.npy")):
        assert refar("generate", name, "-n", 5, "-o", f"from-{kind}.csv", "--prompt", source).code == 0
    assert Path("from-csv.csv").read_text() == Path("from-npy.csv").read_text()
    assert refar("generate", name, "-n", 30, "-o", "its.npy").code == 0  # the network's own numbers go back as they are
    assert refar("score", name, "its.npy").code == 0
    np.save("two.npy", np.zeros((2, 30)))
    for arguments in (("score", name, "two.npy"), ("generate", name, "-n", 5, "-o", "y.csv", "--prompt", "two.npy")):
        assert "expected one series (T,) in the units of the training's data, got shape (2, 30)" in refar(*arguments).sentence


def test_a_prompt_has_the_separator_of_the_training(refar, own):
    Path("semi.csv").write_text(Path("s.csv").read_text().replace(",", ";"))
    Path("semi.toml").write_text(CONFIGS["series"].replace("s.csv", "semi.csv") + 'separator = ";"\n' + TRAIN)
    assert refar("train", "semi.toml", "--out", "run-semi").code == 0
    assert refar("export", "run-semi", "-o", "semi", "--no-check").code == 0
    assert refar("generate", "semi", "-n", 5, "-o", "y.csv", "--prompt", "semi.csv").code == 0


def test_a_run_goes_on_without_the_files_that_came_since(refar, own):
    shutil.copytree("speech", "growing")
    Path("growing.toml").write_text(CONFIGS["sound"].replace('"speech"', '"growing"') + TRAIN)
    assert refar("train", "growing.toml", "--out", "run-growing").code == 0
    Path("growing/eve").mkdir()
    soundfile.write("growing/eve/0.wav", np.zeros(300), 8000)
    Path("growing.toml").write_text(Path("growing.toml").read_text().replace("steps = 4", "steps = 6"))
    said = refar("train", "growing.toml", "--out", "run-growing", "--resume")
    assert said.code == 0, said
    assert refar("score", "run-growing", "data:train").code == 0


def test_other_files_are_held_to_what_the_network_knows(refar, own):
    """To the rate that the first file gave, and to size and colours that the first picture gave."""
    for folder, size in (("eight", (8, 8)), ("nine", (9, 9))):
        Path(folder).mkdir()
        for i in range(12):
            Image.fromarray(RNG.integers(0, 256, size).astype(np.uint8)).save(f"{folder}/{i}.png")
    configs = {
        "unsaid": CONFIGS["sound"].replace("rate = 8000\n", "").replace('condition = "folder"\n', ""),
        "grey": '[model]\nname = "gated_pixelcnn"\nlayers = 1\nhidden = 6\n[data]\npath = "eight"\nlevels = 8\n',
    }
    for name, config in configs.items():
        Path(f"{name}.toml").write_text(config + TRAIN)
        assert refar("train", f"{name}.toml", "--out", f"run-{name}").code == 0
    Path("fast").mkdir()
    soundfile.write("fast/0.wav", np.zeros(100), 16000)
    for text in ("fast", "fast/0.wav"):
        assert "'0.wav': expected 8000 Hz, got 16000 Hz" in refar("score", "run-unsaid", text).sentence
    assert "expected 8x8 pixels, got 9x9" in refar("score", "run-grey", "nine").sentence
    coloured = RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(coloured).save("coloured.png")
    Image.fromarray(coloured).convert("L").save("plain.png")
    said = [refar("score", "run-grey", text) for text in ("coloured.png", "plain.png")]
    assert [s.code for s in said] == [0, 0], said
    assert said[0].out.partition("dimensions")[2] == said[1].out.partition("dimensions")[2]
    assert "expected sound, which the network was trained on, got pictures" in refar("score", "run-unsaid", "plain.png").sentence


def test_arrays_of_ones_own_are_scored_by_part(refar, own):
    x = RNG.integers(0, 5, (40, 9))
    np.savez("mine.npz", x=x, condition=x[:, 0] % 2)
    model = '[model]\nname = "wavenet"\ndilations = [1]\nresidual = 4\nskip = 4\ncondition = "class:2"\n'
    Path("mine.toml").write_text(f'{model}[data]\npath = "mine.npz"\n{TRAIN}')
    assert refar("train", "mine.toml", "--out", "run-mine").code == 0
    assert refar("export", "run-mine", "-o", "mine", "--no-check").code == 0
    found = [refar("score", "mine", text) for text in ("data:test", "mine.npz:test", "mine.npz:valid", "mine.npz")]
    assert [said.code for said in found] == [0] * 4
    assert found[0].out == found[1].out
    assert str(Path.cwd()) not in Path("mine/bundle.json").read_text()
    assert "4 sequences of 9 dimensions" in found[2].out
    assert "40 sequences of 9 dimensions" in found[3].out
    assert "of 4 right" in refar("classify", "mine", "mine.npz:test").out
    np.savez("mine.npz", x=(x + 1) % 5, condition=x[:, 0] % 2)
    assert "expected the test part that the training saw" in refar("score", "mine", "data:test").sentence
    Path("mine.npz").unlink()
    assert "the data of the training cannot be read: " in refar("score", "mine", "data:test").sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("generate", "series", "-n", 5, "-o", "a.wav"), "'a.wav': the network was not trained on sound"),
        (("generate", "crops", "-n", 5, "-o", "a.wav"), "'a.wav': images have no sound; expected .npy or .png"),
        (("generate", "sound", "-n", 5, "-o", "a.wav", "--condition", "eve"), "expected classes such as 3 or 0,1,2, or ann, bob"),
        (
            ("generate", "series", "-n", 5, "-o", "a.csv", "--prompt", "classes.npy"),
            "expected real numbers, since the network",
        ),
        (
            ("generate", "sound", "-n", 5, "-o", "a.wav", "--condition", "0", "--prompt", "fast.wav"),
            "8000 Hz, got 16000 Hz",
        ),
        (("score", "sound", "fast.wav", "--condition", "0"), "expected 8000 Hz, got 16000 Hz"),
        (("score", "sound", "unknown"), "the network knows no class 'eve'; it knows ann, bob"),
        (("score", "sound", "data:tst"), "expected one of the splits train, valid, test, got 'tst'"),
        (("score", "sound", "nowhere.wav:test"), "data 'nowhere.wav:test' is neither a file nor a data set"),
        (("score", "run-nowhere", "data:test"), "'run-nowhere': there is no such bundle"),
        (("data", "fetch"), "data: expected nothing, or fetch NAME"),
        (("data", "fetch", "mnits"), "data 'mnits' cannot be fetched, did you mean 'mnist'?"),
        (("data", "list"), "data: expected nothing, or fetch NAME"),
    ],
)
def test_what_is_refused(refar, own, arguments, said):
    np.save("classes.npy", np.zeros((1, 5), int))
    soundfile.write("fast.wav", np.zeros(100), 16000)
    for speaker in ("ann", "eve"):
        Path("unknown", speaker).mkdir(parents=True, exist_ok=True)
        soundfile.write(f"unknown/{speaker}/0.wav", np.zeros(100), 8000)
    assert said in refar(*arguments).sentence


def test_the_list_of_data_sets(refar, monkeypatch, tmp_path):
    monkeypatch.setenv("REFAR_DATA", str(tmp_path))
    said = refar("data")
    assert said.code == 0
    for words in ("digits", "fourier", "mnist", "fashion-mnist", "CC BY 4.0", "CC BY-SA 3.0", "MIT", "refar data fetch mnist"):
        assert words in said.out
    monkeypatch.setattr("refar.data.cache.is_fetched", lambda name: True)
    assert str(tmp_path / "mnist") in refar("data").out
    assert DataConfig(name="mnist").title == "mnist"


def test_pictures_that_are_sequences_come_out_as_bright_as_they_are(own: Path, tmp_path: Path) -> None:
    """Class 0 of a picture is black, whatever network it goes through; that of other data is paper."""
    dark = np.zeros((1, 24), np.int64)
    graph = load_run("run-pixels").graph
    for kind, light in (("picture", 0), ("numbers", 255)):
        meaning = Meaning(kind=kind, levels=8, size=(4, 6))
        samples.write_sheet(tmp_path / "x.png", dark, meaning, graph, (4, 6))
        assert set(np.unique(np.asarray(Image.open(tmp_path / "x.png")))) == {232, light}
        look = completed.check_kind(tmp_path / "x.png", graph, meaning, (4, 6), 24).pictures
        assert look is not None
        assert look.on_paper == (light == 255)
