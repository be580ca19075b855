"""The page of an experiment: what a hand wrote, and between two marks what results.json holds."""

from __future__ import annotations

from lab.book import Experiment, Figures
from lab.course import results

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def write(experiment: Experiment) -> None:
    """Put the results between the marks of README.md beside them. Raises SystemExit where the marks are missing."""
    page = experiment.here / "README.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(with_results(experiment, text), encoding="utf-8")
    print(f"wrote {page}")


def with_results(experiment: Experiment, text: str) -> str:
    """Return the text of a page with the present results."""
    before, opened, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (opened and closed):
        raise SystemExit(f"{experiment.here.name}/README.md: expected the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{_told(experiment)}\n\n{END}{after}"


def _told(experiment: Experiment) -> str:
    found = results(experiment)
    figures = found["figures"]
    return "\n\n".join(
        [
            f"    {found['command']}",
            " ".join([f"{found['date']}, {found['hardware']}, commit {found['commit']}{_seeds(found)}.", *_training(found)]),
            *_aims(experiment.claims(figures)),
            experiment.table(figures),
        ]
    )


def _seeds(found: Figures) -> str:
    seeds = sorted(set(found["seeds"].values()))
    return f", seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else ""


def _training(found: Figures) -> list[str]:
    """Say how long it took, and that the bundles give what PyTorch gives."""
    measuring = f"measuring {_minutes(60 * found['minutes']['measuring'])}"
    if not found["training"]:
        return [f"Nothing is trained; {measuring}."]
    runs = "; ".join(f"{name} {run['steps']} steps, {_minutes(run['seconds'])}" for name, run in found["training"].items())
    losses = "; ".join(
        f"{name} {found['figures']['losses'][name]:.6g} and {torch:.6g}" for name, torch in found["torch_losses"].items()
    )
    where = f" ({found['trained']})" if found.get("trained") else ""
    return [
        f"Training{where}: {runs}; {measuring}.",
        f"Loss of the test part by the bundle, without PyTorch, and by PyTorch: {losses}.",
    ]


def _aims(claims: list[tuple[str, str, bool]]) -> list[str]:
    lines = [f"| {aim} | {came} | {'reached' if good else 'missed'} |" for aim, came, good in claims]
    return ["\n".join(["| aim | found | |", "|---|---|---|", *lines])] if lines else []


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
