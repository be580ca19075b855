"""Speech of three voices, 8 kHz in 256 classes of the mu-law: a WaveNet told the voice, and at each sample what is said."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab import switching
from lab.beside import beside
from lab.scoring import test_nats
from refar import quantize
from refar.errors import FileError
from refar.runtime import load

Array = NDArray[Any]
units = beside(__file__, "units")
VOICES = ("en", "es", "fr")
WINDOW, ORDER = 8192, 64
MINUTES = 15
"""The most minutes of each voice that are used."""
EVERY = 20
"""Of so many files the first is for validation, the second for the test."""
FITTED = 300
"""The number of windows that the autoregressions are fitted to."""
SHOWN = 4 * WINDOW
LAW = quantize.mu_law(256)


def prepare(work: Path) -> None:
    """Write speech.npz: windows of classes, their voices and the unit at each sample; and prompt.npz, a piece of the test."""
    if (work / "prompt.npz").is_file():
        return
    sounds = [list(_sounds(voice)) for voice in VOICES]
    frames = [np.concatenate([units.spectra(sound) for sound in voice]) for voice in sounds]
    groups = units.centres(frames)
    parts: dict[str, list[tuple[int, Array, Array]]] = {"": [], "valid_": [], "test_": []}
    for number, voice in enumerate(sounds):
        for file, sound in enumerate(voice):
            part = {0: "valid_", 1: "test_"}.get(file % EVERY, "")
            parts[part].append((number, LAW.encode(sound).astype(np.uint8), units.track(sound, frames[number], groups)))
    arrays: dict[str, Array] = {}
    for prefix, found in parts.items():
        x, unit, voice = _windows(found)
        arrays |= {f"{prefix}x": x, f"{prefix}condition_local": unit, f"{prefix}condition_condition": voice}
    np.savez(work / "speech.npz", **arrays)
    said = [np.concatenate([track for of, _, track in parts["test_"] if of == voice])[:SHOWN] for voice in range(len(VOICES))]
    heard = [np.concatenate([x for of, x, _ in parts["test_"] if of == voice])[:SHOWN] for voice in range(len(VOICES))]
    np.savez(work / "prompt.npz", said=np.stack(said), heard=np.stack(heard))


def _sounds(voice: str) -> Iterator[Array]:
    """The recordings of a voice that fill a window, scaled to a peak of 0.7, in the order of their names: MINUTES at most."""
    import soundfile

    package = f"asterisk-core-sounds-{voice}-wav"
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False).stdout.split()
    paths = sorted(Path(path) for path in listed if path.endswith(".wav"))
    if not paths:
        raise FileError(f"{package} is not installed; it is a package of Debian: apt install {package}")
    left = MINUTES * 60 * units.RATE
    for path in paths:
        sound, rate = soundfile.read(path, dtype="float32")
        if rate == units.RATE and sound.ndim == 1 and len(sound) > WINDOW and left > 0:
            left -= len(sound)
            yield np.clip(sound / max(1e-3, float(abs(sound).max())) * 0.7, -1, 1)


def _windows(found: list[tuple[int, Array, Array]]) -> tuple[Array, Array, Array]:
    """Cut recordings into windows that lie side by side; what fills none is left out."""
    x, unit, voice = [], [], []
    for number, sound, track in found:
        count = len(sound) // WINDOW
        x.append(sound[: count * WINDOW].reshape(count, WINDOW))
        unit.append(track[: count * WINDOW].reshape(count, WINDOW).astype(np.uint8))
        voice += [number] * count
    return np.concatenate(x), np.concatenate(unit), np.array(voice)


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the test part by the network and by autoregressions; what each voice says in the words of one recording."""
    with np.load(work / "speech.npz") as held:
        data = {name: held[name] for name in held.files}
    nats = {"network": test_nats(bundles["wavenet"], work)}
    kinds = len(VOICES) * units.UNITS
    for name, count in (("one noise", 1), ("a noise for each voice and unit", kinds)):
        known = {part: _kinds(data, part) if count > 1 else np.zeros_like(data[f"{part}x"], dtype=int) for part in ("", "test_")}
        some = np.random.default_rng(0).choice(len(data["x"]), min(FITTED, len(data["x"])), replace=False)
        model = switching.fit(LAW.decode(data["x"][some]), known[""][some], ORDER, count)
        each = [model.nats(LAW, x, k) for x, k in zip(data["test_x"], known["test_"], strict=True)]
        nats[f"AR({ORDER}), {name}"] = float(np.mean(each))
    _speak(bundles["wavenet"], work)
    return {
        "losses": {"wavenet": nats["network"]},
        "bits": {name: value / math.log(2) for name, value in nats.items()},
        "seconds": {part or "train": data[f"{part}x"].size / units.RATE for part in ("", "test_")},
    }


def _kinds(data: Mapping[str, Array], part: str) -> Array:
    return data[f"{part}condition_condition"][:, None] * units.UNITS + data[f"{part}condition_local"].astype(int)


def _speak(bundle: Path, work: Path) -> None:
    """Let each voice say the units of a Spanish recording of the test part, and the Spanish voice that twice."""
    with np.load(work / "prompt.npz") as held:
        said, heard = held["said"], held["heard"]
    session, source = load(bundle), VOICES.index("es")
    track = np.stack([said[source]] * len(VOICES)).astype(np.int64)
    condition = {"condition": np.arange(len(VOICES)), "local": track}
    made = session.generate(SHOWN, condition=condition, seed=0, temperature=0.9, progress=_shown)
    print()
    np.savez(work / "shown.npz", heard=LAW.decode(heard[source].astype(np.int64)), made=LAW.decode(made))


def _shown(done: int) -> None:
    if done % 1024 == 0:
        print(f"generated {done} of {SHOWN} samples", end="\r", flush=True)


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw spectrograms, and write what was generated as sound."""
    import soundfile
    from matplotlib.figure import Figure

    from refar.plots.style import INK, font, save

    with np.load(work / "shown.npz") as held:
        heard, made = held["heard"], held["made"]
    for voice, sound in zip(VOICES, made, strict=True):
        soundfile.write(here / f"{voice}.wav", sound, units.RATE, subtype="PCM_16")
    shown = {"recording (es), of the test part": heard, **{f"generated, voice {v}": x for v, x in zip(VOICES, made, strict=True)}}
    with font():
        figure = Figure(figsize=(8.4, 5.0), dpi=72, facecolor="white", layout="constrained")
        for axes, (name, sound) in zip(figure.subplots(len(shown), 1, sharex=True), shown.items(), strict=True):
            frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::128] * np.hanning(256)
            power = 10 * np.log10(abs(np.fft.rfft(frames, axis=1)).T ** 2 + 1e-6)
            seconds = len(sound) / units.RATE
            axes.imshow(
                power,
                origin="lower",
                aspect="auto",
                interpolation="none",
                cmap="magma",
                vmin=-45,
                vmax=25,
                extent=(0, seconds, 0, 4),
            )
            axes.set_title(name, loc="left", fontsize=9, color=INK)
            axes.set_ylabel("kHz", color=INK)
        axes.set_xlabel("seconds", color=INK)
    save(figure, here / "spectra.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell bits per sample."""
    seconds = figures["seconds"]
    lines = [
        f"{seconds['train'] / 60:.0f} minutes to train with, {seconds['test_'] / 60:.1f} for the test; "
        f"windows of {WINDOW} samples.\n",
        "| | bits per sample of the test part |", "|---|---|",
        *[f"| {name} | {bits:.3f} |" for name, bits in figures["bits"].items()],
        "",
        "![spectra of a recording, and of what each voice makes of its units](spectra.svg)",
        "",
        "By onnxruntime from the bundle: " + ", ".join(f"[{voice}.wav]({voice}.wav)" for voice in VOICES) + ".",
    ]  # fmt: skip
    return "\n".join(lines)


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Fewer bits than both autoregressions."""
    bits = dict(figures["bits"])
    network = bits.pop("network")
    return [
        (f"bits per sample: fewer than {name}", f"{network:.3f} against {value:.3f}", network < value)
        for name, value in bits.items()
    ]


DESCRIPTION = {
    "title": "speech of three voices, told the voice and what is being said",
    "minutes": 90,
    "data": f"prompts of Asterisk: apt install {' '.join(f'asterisk-core-sounds-{voice}-wav' for voice in VOICES)}",
    "configs": ("wavenet",),
    "packages": ("scipy", "soundfile"),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
