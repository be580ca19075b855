"""A bundle held against the module itself: right ones are written, others leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import CausalConv1d, randomised
from causal_variants import CAUSAL
from torch import Tensor, nn

import refar.torch
from refar import Builder, init, models
from refar.errors import BackendError, InputError, ParameterError
from refar.importing.torch_reference import reference
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import against_module, export

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


@pytest.mark.parametrize(
    ("name", "shift"),
    [("locuslab_tcn", "none"), ("wavenet", "input"), ("valid_wavenet", "output"), ("input_padded", "none"),
     ("conditions", "input"), ("channels_last", "output"), ("one_more", "none")],
)  # fmt: skip
def test_an_imported_module_s_bundle_agrees_with_it(name: str, shift: Any, tmp_path: Path) -> None:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    got = refar.from_torch(module, example, **options, shift=shift)
    export(got.graph, got.params, tmp_path / "bundle", verify=module)
    found = against_module.compare(tmp_path / "bundle", reference(module, got.graph, got.params), got.params)
    assert [one.what for one in found] == ["full", "prefill", "step", "block", "window"]
    assert all(one.difference <= one.allowed for one in found)
    assert min(one.allowed for one in found) < 1e-4


@pytest.mark.parametrize("name", ["valid", "colours", "late_conditions"])
def test_refar_s_own_modules_go_in_place_of_parameters(name: str, tmp_path: Path) -> None:
    graph = {
        "valid": lambda: two(padding="valid"),
        "colours": lambda: models.masked_pixelcnn(4, channels=3, layers=1, hidden=6, first_kernel=3, condition="class:3"),
        "late_conditions": lambda: models.wavenet(7, [1, 2], residual=4, gate=4, skip=4, condition="class:3", local="vector:2"),
    }[name]()
    module = refar.torch.Module(graph, seed=2)
    export(graph, module, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").is_file()


class Two(nn.Module):
    """Two layers of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = CausalConv1d(2, 2, 2), CausalConv1d(2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(torch.tanh(self.one(x)))
        return y


def two(swapped: bool = False, padding: Any = "layer") -> refar.Graph:
    g = Builder()
    first, second = ("two", "one") if swapped else ("one", "two")
    h = g.tanh(g.conv1d(g.input(channels=2), 2, kernel=2, name=first))
    return g.build(g.conv1d(h, 2, kernel=2, name=second), padding=padding)


def arrays(module: nn.Module) -> dict[str, Any]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def test_a_module_with_the_graph_s_names_goes_in_place_of_parameters(tmp_path: Path) -> None:
    module = randomised(Two())
    export(two(), module, tmp_path / "bundle")
    export(two(), arrays(module), tmp_path / "again", verify=module)
    files = [sorted((p.name, p.read_bytes()) for p in (tmp_path / name).iterdir()) for name in ("bundle", "again")]
    assert files[0] == files[1]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mapping_that_exchanges_two_layers_leaves_nothing(dtype: Any, tmp_path: Path) -> None:
    module = randomised(Two())
    export(two(), module, tmp_path / "right", dtype=dtype)
    for params, more in ((module, {}), (arrays(module), {"verify": module})):
        with pytest.raises(ParameterError, match="'two' and 'one' exchanged they agree"):
            export(two(swapped=True), params, tmp_path / "bundle", dtype=dtype, **more)
    export(two(swapped=True), arrays(module), tmp_path / "unverified", verify=True)  # the oracle knows nothing of the module
    assert sorted(path.name for path in tmp_path.iterdir()) == ["right", "unverified"]


def test_parameters_that_were_rounded_to_float32_are_taken_and_others_that_are_off_are_not(tmp_path: Path) -> None:
    module, example, options = CAUSAL["locuslab_tcn"]()
    module = randomised(module)
    got = refar.from_torch(module, example, **options)
    rounded = {name: array.astype(np.float32) for name, array in got.params.items()}
    export(got.graph, rounded, tmp_path / "bundle", verify=module)
    off = rounded | {"2.weight": rounded["2.weight"] * np.float32(1 + 3e-5)}
    with pytest.raises(BackendError, match=r"disagree with Sequential:\n\[x\] full"):
        export(got.graph, off, tmp_path / "other", verify=module)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("graph", ["forward", "prefill", "step", "block"])
def test_a_graph_that_computes_something_else_is_named(graph: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path) -> Session:
        session = load(path)
        right = getattr(session, graph)
        monkeypatch.setattr(session, graph, lambda *given: right(*given) * np.float32(1 + 2e-5))
        return session

    monkeypatch.setattr("refar_export.against_module.load", opened)
    named = {"forward": ["full"], "block": ["block", "window"]}.get(graph, [graph])
    with pytest.raises(BackendError, match="disagree with Two") as refused:
        export(two(), randomised(Two()), tmp_path / "bundle")
    assert [line.split()[1][:-1] for line in str(refused.value).splitlines() if line.startswith("[x]")] == named
    assert list(tmp_path.iterdir()) == []


class Cancelling(nn.Module):
    """A small number as the difference of two that are a million times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.out = nn.Conv1d(1, 2, 1, bias=False), nn.Conv1d(2, 1, 1, bias=False)
        self.wide.weight.data = torch.tensor([1e6, 1e6 + 1]).reshape(2, 1, 1)
        self.out.weight.data = torch.tensor([-1.0, 1.0]).reshape(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.wide(x))
        return y


def test_a_bound_that_is_too_wide_proves_nothing(tmp_path: Path) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.conv1d(g.input(channels=1), 2, bias=False, name="wide"), 1, bias=False, name="out"))
    with pytest.raises(BackendError, match=r"wider than 0.001 proves nothing"):
        export(graph, Cancelling().eval(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_what_is_given_is_checked(tmp_path: Path) -> None:
    graph, given = two(), dict[str, Any](verify="module")
    with pytest.raises(InputError, match=r"verify: expected True, False or a torch.nn.Module, got 'module'"):
        export(graph, init(graph), tmp_path / "bundle", **given)
    with pytest.raises(ParameterError, match="does not compute"):
        export(graph, init(graph), tmp_path / "bundle", verify=randomised(nn.Conv1d(2, 2, 1)))
    assert list(tmp_path.iterdir()) == []


def test_no_module_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, refar, refar_export; g = refar.models.linear_ar(2); "
        f"refar_export.export(g, refar.init(g), {str(tmp_path / 'b')!r}, verify=True); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
