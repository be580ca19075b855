"""Files of Neural Amp Modeler become graphs that compute what the loops by hand do; what does not fit is named."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nam_by_hand import play
from nam_refused import REFUSED
from nam_variants import SLIM, VARIANTS, array, drawn, wavenet

import refar
from refar.errors import FileError
from refar.importing import Imported, ImportRefused
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar_export import export


def written(folder: Path, model: Any) -> Path:
    path = folder / "AMP.nam"
    path.write_text(model if isinstance(model, str) else json.dumps(model), encoding="utf-8")
    return path


def signal(got: Imported, length: int, batch: int = 2, seed: int = 1) -> Any:
    channels = got.graph.nodes[0].op.channels
    return np.random.default_rng(seed).normal(size=(batch, channels, length))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("padding", ["input", "layer"])
def test_a_file_becomes_a_graph_that_computes_what_loops_do(name: str, padding: Any, tmp_path: Path) -> None:
    model = VARIANTS[name]
    got = refar.from_nam(written(tmp_path, model), padding=padding)
    assert set(got.report.origins) == set(got.params)
    assert refar.from_json(refar.to_json(got.graph)) == got.graph
    field = got.report.receptive_field
    for length, batch in ((1, 1), (max(1, field - 1), 2), (field + 7, 1)):
        x = signal(got, length, batch)
        y = refar.forward(got.graph, got.params, x)
        for row, expected in zip(x, y, strict=True):
            np.testing.assert_allclose(
                expected, play(model, row, warm=2 * field if padding == "input" else 0), rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("seed", range(25))
def test_drawn_files(seed: int, tmp_path: Path) -> None:
    model = drawn(seed)
    got = refar.from_nam(written(tmp_path, model))
    x = signal(got, 50, batch=1, seed=seed)
    y = play(model, x[0], warm=200)
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x)[0], y, rtol=0, atol=1e-12 * max(1, np.abs(y).max()))


STREAMED = ["A2", "a mode for each layer", "all films, gated", "container", "convnet with batch norm"]


@pytest.mark.parametrize("name", STREAMED)
def test_step_and_blocks_of_the_bundle_are_what_loops_give(name: str, tmp_path: Path) -> None:
    model = VARIANTS[name]
    got = refar.from_nam(written(tmp_path, model))
    x = signal(got, 60, batch=1).astype(np.float32)
    y = play(model, x[0].astype(np.float64), warm=200)[None]
    allowed = tolerance(got.graph, y, np.float32)
    bundle = load(export(got.graph, got.params, tmp_path / "b", metadata=got.metadata, verify=True))
    steps, blocks = bundle.stream(), bundle.stream()
    stepped = np.stack([steps.step(x[..., t]) for t in range(60)], axis=2)
    cuts = [0, 1, 3, 10, 42, 60]
    pushed = np.concatenate([blocks.push(x[..., a:b]) for a, b in pairwise(cuts)], axis=2)
    for found in (bundle.forward(x), stepped, pushed):
        assert np.abs(found - y).max() <= allowed
    assert bundle.manifest.metadata["sample_rate"] == "48000"


def test_padding_says_what_came_before_the_first_sample(tmp_path: Path) -> None:
    """After prewarming, without it, and of the outputs with a whole window; from R - 1 on all are the same."""
    path, x = written(tmp_path, VARIANTS["A1"]), np.random.default_rng(0).normal(size=(1, 1, 60))
    got = {padding: refar.from_nam(path, padding=padding) for padding in ("input", "layer", "valid")}  # type: ignore[arg-type]
    warm, cold, whole = (refar.forward(each.graph, each.params, x) for each in got.values())
    field = got["input"].report.receptive_field
    late = np.concatenate([np.zeros((1, 1, 500)), x], axis=2)
    np.testing.assert_allclose(warm, refar.forward(got["layer"].graph, got["layer"].params, late)[..., 500:], atol=1e-13)
    np.testing.assert_allclose(warm[..., field - 1 :], cold[..., field - 1 :], atol=1e-13)
    np.testing.assert_allclose(warm[..., field - 1 :], whole, atol=1e-13)
    assert (np.abs(warm - cold)[..., : field - 1] > 1e-6).any()


def test_what_a_file_says_of_itself_goes_along(tmp_path: Path) -> None:
    said = {"name": "Amp", "loudness": -20.5, "input_level_dbu": None, "date": {"year": 2026}}
    got = refar.from_nam(written(tmp_path, VARIANTS["A1"] | {"metadata": said, "sample_rate": 44100.0, "notes": ["x"]}))
    assert got.metadata == {
        "name": "Amp", "loudness": "-20.5", "date": '{"year": 2026}',
        "nam_version": "0.7.0", "nam_architecture": "WaveNet", "sample_rate": "44100",
    }  # fmt: skip
    model = VARIANTS["A1"] | {"metadata": None}
    del model["sample_rate"]
    got = refar.from_nam(written(tmp_path, model))
    assert "sample_rate" not in got.metadata
    assert "no sample rate" in str(got.report)
    assert "differs" not in str(got.report)  # there is nothing to compare with


def test_a_chain_has_the_rate_of_its_models(tmp_path: Path) -> None:
    model = copy.deepcopy(VARIANTS["sequential"])
    del model["sample_rate"], model["config"]["models"][0]["sample_rate"], model["config"]["models"][0]["version"]
    assert refar.from_nam(written(tmp_path, model)).metadata["sample_rate"] == "48000"
    model["config"]["models"][2]["sample_rate"] = 44100
    with pytest.raises(ImportRefused, match=r"config\.models: expected models of one sample rate, got 44100 and 48000"):
        refar.from_nam(written(tmp_path, model))


def test_of_a_container_the_chosen_model_speaks(tmp_path: Path) -> None:
    model = copy.deepcopy(VARIANTS["container"]) | {"metadata": {"loudness": -1, "name": "outer"}}
    for i, submodel in enumerate(model["config"]["submodels"]):
        submodel["model"]["metadata"] = {"loudness": i}
    path = written(tmp_path, model)
    for size, chosen in [(None, 1), (0, 0), (0.49, 0), (0.5, 1), (1, 1)]:
        got = refar.from_nam(path, size=size)
        assert got.metadata["loudness"] == str(chosen)
        assert got.metadata["name"] == "outer"
        assert got.params["arrays.0.rechannel.weight"].shape == ((3, 1, 1), (5, 1, 1))[chosen]
        assert f"config.submodels[{chosen}].model" in got.report.notes[0]


@pytest.mark.parametrize(("size", "channels"), [(0.0, 1), (0.33, 1), (0.34, 2), (0.66, 2), (0.67, 4), (1.0, 4)])
@pytest.mark.parametrize("mode", ["none", "gated"])
def test_a_slimmable_file_is_cut_as_nam_cuts_it(size: float, channels: int, mode: str, tmp_path: Path) -> None:
    first = array(**SLIM, gating_mode=mode, head={"out_channels": 3, "kernel_size": 1, "bias": True}, bottleneck=3)
    second = array(input_size=4, slimmable={"method": "slice_channels_uniform", "kwargs": {}})
    third = min(int(3 * size), 2) + 1  # every number of channels is allowed
    model = wavenet(first, second)
    got = refar.from_nam(written(tmp_path, model), size=size)
    kept = [
        first | {"channels": channels, "bottleneck": max(1, 3 * channels // 4), "head": first["head"] | {"out_channels": third}},
        second | {"channels": third, "input_size": channels},
    ]
    x = signal(got, 40, batch=1)
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x)[0], play(model, x[0], 200, kept), rtol=0, atol=1e-12)


def test_where_trainer_and_core_differ_the_report_says_so(tmp_path: Path) -> None:
    for name, words in {
        "no layer1x1": "x + a to the next, as in NAM's trainer; NAM Core gives x",
        "layer1x1_post_film, gated": "layer1x1_post_film counts",
        "leaks": "Hardtanh from 0 to 0.5",
        "A1": "arrays.1.layers.0.layer1x1: 6 weights that no output depends on were left out",
    }.items():
        assert words in str(refar.from_nam(written(tmp_path, VARIANTS[name])).report)
    assert "layer1x1_post_film" not in str(refar.from_nam(written(tmp_path, VARIANTS["layer1x1_post_film, blended"])).report)


def test_origins_say_which_numbers_of_the_file_a_parameter_is(tmp_path: Path) -> None:
    model = VARIANTS["condition"]
    got = refar.from_nam(written(tmp_path, model))
    assert got.report.origins["arrays.0.rechannel.weight"] == "weights[0:3]"
    assert got.report.origins["arrays.0.layers.0.conv.weight"] == "weights[3:30]"
    assert got.report.origins["condition_dsp.arrays.0.rechannel.weight"] == "config.condition_dsp.weights[0:3]"
    assert got.params["arrays.0.layers.0.conv.weight"].ravel().tolist() == model["weights"][3:30]


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(name: str, tmp_path: Path) -> None:
    model, words = REFUSED[name]
    with pytest.raises((ImportRefused, FileError), match=words) as refused:
        refar.from_nam(written(tmp_path, model))
    assert "AMP.nam" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    path = written(tmp_path, VARIANTS["A1"])
    for options, words in [
        ({"size": 1.5}, "size: expected a number from 0 to 1, got 1.5"),
        ({"size": "1"}, "size: expected a number from 0 to 1"),
        ({"size": 0.5}, "expected a file of several sizes, got one whose layers are not slimmable"),
        ({"padding": "same"}, "padding: expected one of layer, input, valid, got 'same'"),
    ]:
        with pytest.raises(refar.RefarError, match=words):
            refar.from_nam(path, **options)  # type: ignore[arg-type]
    with pytest.raises(refar.RefarError, match="no array with groups or a head of kernel > 1"):
        refar.from_nam(written(tmp_path, wavenet(array(**SLIM, groups_input=2))), size=0.1)
    with pytest.raises(refar.RefarError, match=r"size: expected a file of several sizes, got one of architecture 'Linear'"):
        refar.from_nam(written(tmp_path, VARIANTS["linear"]), size=0.1)
    with pytest.raises(FileError, match="cannot be read"):
        refar.from_nam(tmp_path / "missing.nam")
    (tmp_path / "AMP.nam").write_bytes(b"RIFF\xff\xfe\x00")
    with pytest.raises(FileError, match="bytes that are no text"):
        refar.from_nam(tmp_path / "AMP.nam")
