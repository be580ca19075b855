"""The page: one file that needs no other, with every figure in it measured by the run that wrote it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from refar import plots
from refar.analysis.causality import receptive_field, sequence_offsets
from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.cli import png
from refar.cli.demonstration.deploy import COMPLETIONS, PER_CLASS
from refar.cli.describe import offsets_text
from refar.graph.graph import Graph
from refar.runtime.bundle import layout_of, state_ports

Figures = dict[str, Any]
Shape = tuple[int, int]


def page(figures: Figures, arrays: dict[str, Array], graph: Graph, shape: Shape, out: Path) -> str:
    """The HTML."""
    template = Template(files("refar.cli.demonstration").joinpath("page.html").read_text(encoding="utf-8"))
    classes = facts(graph).types[facts(graph).sequence].size
    pictures = Pictures(shape, classes)
    log = figures["training"]["log"]
    seconds = sum(figures["seconds"].values())
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    return template.substitute(
        lead=_lead(figures),
        key=_key(figures),
        samples=_samples(pictures, arrays),
        completions=_completions(pictures, arrays),
        heldout_text=_heldout_text(figures),
        heldout=_heldout(figures),
        generation=_generation(figures["deployed"]),
        training_text=_training_text(figures),
        loss=plots.svg(plots.losses(*_curves(log))),
        field_text=_field_text(graph),
        field=plots.svg(plots.field(graph)),
        laws=_laws(figures),
        commands=_commands(out),
        footer=escape(f"{figures['data']['source']}; {figures['data']['licence']}. {versions}. {seconds:.0f} seconds in all."),
    )


class Pictures:
    """Tokens as tiles: ink on paper."""

    def __init__(self, shape: Shape, classes: int) -> None:
        self._shape, self._classes = shape, classes

    def tile(self, tokens: Array, kind: str = "") -> str:
        """One picture; of kind 'half' only the rows that are there."""
        grey = png.ink(tokens.reshape(-1, self._shape[1]), self._classes).repeat(5, axis=0).repeat(5, axis=1)
        data = base64.b64encode(png.encode(grey)).decode()
        return f'<div class="tile {kind}"><img alt="" src="data:image/png;base64,{data}"></div>'

    def strip(self, rows: Iterable[Array], kind: str = "") -> str:
        """Pictures side by side."""
        return f'<div class="strip">{"".join(self.tile(row, kind) for row in rows)}</div>'


def _curves(log: list[dict[str, Any]]) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """The loss of training and of validation by step."""
    train, valid = ([(line["step"], line[name]) for line in log] for name in ("train_nats", "valid_nats"))
    return train, valid


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", right: Sequence[int] = (), ours: int = -1) -> str:
    """Cells are HTML; the columns `right` hold numbers, the row `ours` stands out."""
    marks = [' class="n"' if i in right else "" for i in range(len(head))]
    top = "".join(f"<th{m}>{cell}</th>" for m, cell in zip(marks, head, strict=True))
    body = "".join(
        ('<tr class="ours">' if i == ours else "<tr>")
        + "".join(f"<td{m}>{cell}</td>" for m, cell in zip(marks, row, strict=True))
        + "</tr>\n"
        for i, row in enumerate(rows)
    )
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _lead(figures: Figures) -> str:
    *most, last = figures["deployed"]["blocked"]
    return (
        f"A class-conditional WaveNet of {figures['training']['parameters']:,} parameters was trained in PyTorch, held against "
        f"the NumPy oracle, exported to ONNX with its state, and did all that follows in a process in which "
        f"{', '.join(most)} and {last} cannot be imported."
    )


def _key(figures: Figures) -> str:
    deployed, base = figures["deployed"], figures["baselines"]
    race = deployed["generation"][-1]
    worst = max(figures["export"], key=lambda line: line["difference"])
    cells = [
        (
            f"{deployed['nats_per_pixel']:.4f}",
            f"nats per held-out pixel; previous-pixel model {base['nats_per_pixel']['previous']:.4f}",
        ),
        (f"{deployed['accuracy']:.1%}", "of held-out pictures classified right by Bayes’ rule"),
        (f"{race['ratio']:.1f}×", f"faster generation with the step graph, {race['batch']} pictures at once"),
        (_scientific(worst["difference"]), "largest difference from the oracle in the exported logits"),
    ]
    return "\n".join(f"<div><b>{value}</b><span>{what}</span></div>" for value, what in cells)


def _samples(pictures: Pictures, arrays: dict[str, Array]) -> str:
    classes = arrays["posterior"].shape[1]
    samples = arrays["samples"].reshape(classes, PER_CLASS, -1)
    real = [arrays["x"][arrays["label"] == c][:PER_CLASS] for c in range(classes)]
    rows = [[str(c), pictures.strip(samples[c]), pictures.strip(real[c])] for c in range(classes)]
    return table(["", "drawn by the network", "real, held out"], rows, "tiles classes")


def _completions(pictures: Pictures, arrays: dict[str, Array]) -> str:
    rows = []
    for original, made in zip(arrays["originals"], arrays["completions"], strict=True):
        half = original[: len(original) // 2]
        rows.append([pictures.strip([original]), pictures.strip([half], "half"), pictures.strip(made, "made")])
    middle = -(-len(rows) // 2)
    pairs = [[*row, *(rows[middle + i] if middle + i < len(rows) else [""] * 3)] for i, row in enumerate(rows[:middle])]
    head = ["original", "given", f"{COMPLETIONS} completions"] * 2
    return table(head, pairs, "tiles pairs")


def _heldout_text(figures: Figures) -> str:
    base = figures["deployed"]
    return (
        f"How well each model predicts the {figures['data']['test']} pictures that no training saw: nats per pixel (less is "
        f"better), {base['nats_per_pixel'] / np.log(2):.4f} bits for the WaveNet; the accuracy is that of Bayes’ rule, "
        "argmax p(x | class)."
    )


def _heldout(figures: Figures) -> str:
    base, deployed = figures["baselines"], figures["deployed"]
    nats = base["nats_per_pixel"]
    rows = [
        ["unigram, p(x<sub>t</sub>)", f"{nats['unigram']:.4f}", "–"],
        ["previous pixel, p(x<sub>t</sub> | x<sub>t−1</sub>)", f"{nats['previous']:.4f}", "–"],
        ["marginals, p(x<sub>t</sub> | t, class): naive Bayes", f"{nats['marginals']:.4f}", f"{base['accuracy']:.1%}"],
        [
            "WaveNet, p(x<sub>t</sub> | x<sub>&lt;t</sub>, class)",
            f"{deployed['nats_per_pixel']:.4f}",
            f"{deployed['accuracy']:.1%}",
        ],
    ]
    return table(["model", "nats per pixel", "accuracy"], rows, right=(1, 2), ours=3)


def _generation(deployed: Figures) -> str:
    rows = [
        [
            str(race["batch"]),
            f"{race['tokens'] / race['recompute_seconds']:,.0f}",
            f"{race['tokens'] / race['step_seconds']:,.0f}",
            f"{race['ratio']:.1f}×",
            f"{race['equal_tokens']:,} of {race['tokens']:,}",
        ]
        for race in deployed["generation"]
    ]
    head = ["pictures at once", "full graph, pixels/s", "step graph, pixels/s", "ratio", "equal pixels"]
    return table(head, rows, right=(0, 1, 2, 3, 4))


def _training_text(figures: Figures) -> str:
    log, seconds = figures["training"]["log"], figures["seconds"]["train"]
    best = min(log, key=lambda line: line["valid_nats"])
    return (
        f"{figures['training']['steps']} steps took {seconds:.0f} seconds; the weights with the best validation loss, "
        f"{best['valid_nats']:.4f} nats per pixel at step {best['step']}, were kept."
    )


def _field_text(graph: Graph) -> str:
    state = sum(4 * port.channels * port.kept for port in state_ports(layout_of(graph)))
    return (
        f"The receptive field is {receptive_field(graph)}: a pixel depends on the offsets "
        f"{offsets_text(sequence_offsets(graph))} before it and not on itself. Generation keeps {state:,} bytes per picture "
        "instead of looking back."
    )


def _laws(figures: Figures) -> str:
    ok = '<span class="ok">✓</span>'
    rows = [[ok, escape(x["law"]), _code(x["statement"]), _figure(x["figure"])] for x in figures["laws"]]
    for line in figures["export"]:
        figure = f"largest difference {_scientific(line['difference'])}, allowed {_scientific(line['allowed'])}"
        state = line["what"].startswith("state of ")
        said = "blocks leave the state that steps leave" if state else "the exported graph gives the oracle’s logits"
        rows.append([ok, escape(line["what"]) if state else f"{line['what']}.onnx", said, figure])
    return table(["", "law", "what it says", "what was seen"], rows, "laws")


def _commands(out: Path) -> str:
    lines = [
        (f"refar inspect {out}/bundle --plot field.png", "layers, offsets, state"),
        (f"refar check {out}/bundle", "the laws again, here or on another machine"),
        (f"refar generate {out}/bundle -n 64 --condition 7 --batch 16 -o sevens.png", "sixteen sevens"),
        (f"refar score {out}/bundle digits:test", "nats and bits per pixel"),
        (f"refar classify {out}/bundle {out}/heldout.npz", "Bayes’ rule over the class"),
        (f"refar train {out}/run/config.toml --out runs/mine", "change the config and train your own"),
    ]
    return "\n".join(f'<span class="why"># {why}</span>\n{escape(command)}' for command, why in lines)


def _code(text: str) -> str:
    """What stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _figure(text: str) -> str:
    """Its numbers as they are written elsewhere on the page."""
    grouped = re.sub(r"(?<![\d.])\d{4,}(?![\d.])", lambda found: f"{int(found[0]):,}", escape(text))
    return re.sub(r"\d(\.\d+)?e[+-]\d+", lambda found: _scientific(float(found[0])), grouped)


def _scientific(value: float) -> str:
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}·10<sup>{int(exponent)}</sup>" if value else "0"
