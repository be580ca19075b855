"""What the README and the pages under docs/ show works as printed, and their links lead somewhere."""

from __future__ import annotations

import code
import re
import shlex
from pathlib import Path
from typing import Any

import mistakes
import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from refar import models
from refar.cli.app import app
from refar.testing import ContractError
from refar.training.config import load_config

ROOT = Path(__file__).parents[1]
DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", *DOCS]
LINKING = [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md", "golden/README.md", "export/README.md"]
WRITTEN = {"docs/figures.md", "docs/mistakes.md", "docs/promises.md", "docs/structure.md"}  # by scripts, or in figures alone

CHAINS: list[tuple[str, ...]] = [
    ("README.md", "docs/training.md", "docs/runs.md", "docs/running.md"),  # which go on with the run of the first
    ("docs/data.md",), ("docs/networks.md",), ("docs/importing.md",), ("docs/pixelcnn.md",), ("docs/nam.md",),
    ("docs/oracle.md",), ("docs/checking.md",), ("docs/losses.md",),
]  # fmt: skip
"""Pages whose lines are typed one page after the other, in one folder. Each page has a Python of its own."""

STEP = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|^    (?P<command>(?:refar|make|pip) [^\n]*)$", re.M | re.S)
NAMED = re.compile(r"# (\w+\.py)\n")
"""The first line of a block of Python that is a file; one of TOML always is."""
SHORTER = {"steps = 500 ": "steps = 2 ", "[1, 2, 4, 8, 16, 32]": "[1, 2]\nresidual = 4\ngate = 4\nskip = 4"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


class Console(code.InteractiveConsole):
    """Python's own prompt, which takes a blank line for the end of a block; what it would print as a traceback it raises."""

    def showtraceback(self) -> None:
        raise

    def showsyntaxerror(self, filename: str | None = None) -> None:
        raise

    def type_in(self, block: str, page: str, first: int) -> None:
        for number, line in enumerate([*block.splitlines(), ""], first):
            try:
                self.push(line)
            except Exception as error:
                error.add_note(f"typed from {page}, up to line {number}")
                raise


def type_in(page: str) -> dict[str, Any]:
    """Type every Python block and every refar command of a page in the order of the text; TOML is config.toml, but shorter."""
    text, space = read(page), dict[str, Any]()
    console = Console(space)
    for step in STEP.finditer(text):
        line = text[: step.start()].count("\n") + 1
        place = f"{page}, line {line}"
        if step["block"] and (named := NAMED.match(step["block"])):
            Path(named[1]).write_text(step["block"], encoding="utf-8")
        elif step["language"] == "python":
            console.type_in(step["block"], page, line + 1)
        elif step["language"] == "toml":
            write_config(step["block"])
        elif step["command"]:
            run_command(step["command"].split("#")[0].strip(), place)
    return space


def write_config(text: str) -> None:
    """The config that the page shows, for a few steps of a smaller network; one that begins with its name, for a few steps."""
    if named := re.match(r"# (\S+\.toml)\n", text):
        Path(named[1]).write_text(re.sub(r"steps = \d+", "steps = 2", text), encoding="utf-8")
        return
    for printed, shorter in SHORTER.items():
        assert printed in text
        text = text.replace(printed, shorter)
    Path("config.toml").write_text(text, encoding="utf-8")


def run_command(command: str, place: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", read("Makefile"), re.M), f"{place}: the Makefile has no target {arguments[0]}"
    elif program == "refar":
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{place}: {command}\n{result.output}\n{result.exception!r}"


def write_data() -> None:
    """Stand-ins for the data that docs/data.md speaks of."""
    rng = np.random.default_rng(0)
    lines = [f"{1700 + t},{40 + 30 * np.sin(t / 1.75) + rng.normal():.1f}" for t in range(309)]
    Path("sunspots.csv").write_text("\n".join(['"YEAR","SUNACTIVITY"', *lines]), encoding="utf-8")
    for i in range(10):
        Path("speech/digits").mkdir(parents=True, exist_ok=True)
        soundfile.write(f"speech/digits/{i}.wav", rng.uniform(-0.5, 0.5, 2100), 8000)
    Path("photos").mkdir()
    for name in ("china", "flower"):
        Image.fromarray(rng.integers(0, 256, (160, 96, 3)).astype(np.uint8)).save(f"photos/{name}.jpg")


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")  # within that export
@pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")
@pytest.mark.parametrize("pages", CHAINS, ids=lambda pages: pages[0])
def test_every_line_runs_as_printed(pages: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if pages == ("docs/data.md",):
        write_data()
    for page in pages:
        space = type_in(page)
        if page == "README.md":
            assert "# (9, [1, 2, 3, 4, 5, 6, 7, 8, 9])" in read(page)
            graph = space["graph"]
            assert (space["refar"].receptive_field(graph), sorted(space["refar"].offsets(graph))) == (9, list(range(1, 10)))
            small = models.wavenet(17, [1, 2], residual=4, gate=4, skip=4, condition="class:10")
            assert load_config("config.toml").graph == small
            expected = {"my_bundle", "tokens.csv", "run", "bundle", "digits.png", "graph.json", "blind.png"}
            assert {path.name for path in tmp_path.iterdir()} >= expected


def test_no_page_with_something_to_type_is_left_out() -> None:
    typed = {
        page: [s for s in STEP.finditer(read(page)) if s["command"] or s["language"] in ("python", "toml")] for page in PAGES
    }
    assert {page for page in PAGES if typed[page]} - WRITTEN == {page for chain in CHAINS for page in chain}


def test_the_mistakes_are_shown_as_they_are_run_and_are_found() -> None:
    imports, *shown = [step["block"].strip() for step in STEP.finditer(read("docs/mistakes.md")) if step["language"] == "python"]
    assert shown == [mistakes.code(wrong, check) for _, wrong, check in mistakes.MISTAKES], "run `make mistakes`"
    for block in shown:
        space: dict[str, Any] = {}
        exec(imports, space)
        with pytest.raises(ContractError):
            exec(block, space)


def test_a_newcomer_reads_the_whole_readme() -> None:
    assert len(read("README.md").split()) <= 2500


@pytest.mark.parametrize("page", LINKING)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(page)) if "://" not in link]
    for path, _, anchor in (link.partition("#") for link in links):
        target = (folder / path if path else ROOT / page).resolve()
        assert target.exists(), f"{page}: {path} is not there"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, f"{page}: {path or page} has no heading #{anchor}"


@pytest.mark.parametrize("page", DOCS)
def test_every_page_is_listed(page: str) -> None:
    name = Path(page).name
    assert name == "README.md" or f"]({name})" in read("docs/README.md")


def test_every_script_finds_its_marks() -> None:
    scripts = re.findall(r"tests/bench/(\w+)\.py (docs/\w+\.md)", read("Makefile"))
    named = "speed figures rows mistakes power causes training mutation imports"
    assert [name for name, _ in scripts] == named.split()
    for name, page in scripts:
        assert read(page).count(f"<!-- {name} -->") == read(page).count(f"<!-- /{name} -->") == 1


def test_the_figures_are_there() -> None:
    figures = read("docs/figures.md").partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    for name in ("nettoy1d_dilated", "wavenet", "linear_ar", "previous pixel", "Bayes"):
        assert name in figures, f"run `make figures`: {name!r} is missing"
    for difference, allowed in re.findall(r"(\de-\d+) \((\de-\d+)\)", figures):
        assert float(difference) <= float(allowed)


@pytest.mark.parametrize(
    ("listing", "language"), [("support/plain_caller.py", "python"), ("javascript/caller.mjs", "javascript")]
)
def test_the_callers_of_the_contract_are_the_tested_ones(listing: str, language: str) -> None:
    source = (ROOT / "tests" / listing).read_text(encoding="utf-8").strip()
    assert f"```{language}\n{source}\n```" in read("export/README.md")
