"""How many small wrong changes the tests see: `python tests/bench/mutation.py [--sample N] [--file oracle/whole.py]`.

Each mutant is one change of the oracle, the exact definitions or the bounds (changes.py). It is made in memory, in a process of
its own, and meets the tests that run its line, the quickest first; it is killed by the first that fails. Of those that live, the
ones that change no behaviour stand in equivalents.toml, each with the reason. With docs/mistakes.md the table is written
between its markers.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import types
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from changes import Mutant, mutants
from pages import ROOT, publish

os.environ.update(OMP_NUM_THREADS="1", CI="1")  # before NumPy: forks must not share threads; hypothesis draws the same every time
sys.path[:0] = [str(ROOT), str(ROOT / "export")]

ROOMS = [ROOT / "refar" / room for room in ("oracle", "exact", "rounding")]
EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
FOLDERS = ("oracle", "exact", "rounding", "contract", "probe", "known", "models", "arguments", "test_images.py", "test_noise.py")
TESTS = [f"tests/{name}" for name in FOLDERS]

Seen = dict[str, tuple[float, set[tuple[str, int]]]]
"""Of each test the seconds and the lines (file, number) that it runs."""


def files() -> list[Path]:
    """The files that are mutated."""
    return [path for room in ROOMS for path in sorted(room.glob("[!_]*.py"))]


def short(path: Path) -> str:
    """The name of a file below refar/."""
    return path.relative_to(ROOT / "refar").as_posix()


def apply(mutant: Mutant) -> None:
    """Give the module's functions the code of the mutant, and every module its constants."""
    name = f"refar.{mutant.file.removesuffix('.py').replace('/', '.')}"
    path = ROOT / "refar" / mutant.file
    namespace = {"__name__": name, "__file__": str(path)}
    with warnings.catch_warnings(action="ignore"):
        exec(compile(mutant.source, path, "exec"), namespace)
    _transplant(namespace, vars(importlib.import_module(name)), name)


def _transplant(new: Any, old: Any, module: str) -> None:
    for name, value in list(new.items()):
        mine = old.get(name)
        if isinstance(value, property):
            value, mine = value.fget, mine.fget
        if hasattr(mine, "cache_clear"):  # what the right code has found out
            mine.cache_clear()
        value, mine = inspect.unwrap(value), inspect.unwrap(mine)  # of what is decorated the function itself
        if isinstance(value, types.FunctionType) and value.__module__ == module:
            mine.__defaults__, mine.__kwdefaults__ = value.__defaults__, value.__kwdefaults__
            if value.__code__.co_filename != "<string>":  # what a dataclass makes
                mine.__code__ = value.__code__
        elif isinstance(value, type) and value.__module__ == module:
            _transplant(vars(value), vars(mine), module)
        elif isinstance(value, int | float | tuple) and value != mine and not name.startswith("__"):
            for each in [m for n, m in sys.modules.items() if n.startswith("refar") and vars(m).get(name) is mine]:
                setattr(each, name, value)


class Runner:
    """A pytest plugin: once the tests are collected, a process for each mutant, which the tests that matter then meet."""

    def __init__(self, chosen: list[Mutant], map_: Path) -> None:
        self.chosen, self.map, self.survivors = chosen, map_, list[Mutant]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        from hypothesis import Phase, settings  # not before pytest has seen to its plugins

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", settings(), derandomize=True, database=None, phases=phases)
        settings.load_profile("mutation")  # the tests' own profile is made from it

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        seen, items, begin = self.clean(session), {item.nodeid: item for item in session.items}, time.perf_counter()
        print(f"{len(seen)} tests pass in {sum(seconds for seconds, _ in seen.values()):.0f} s of one core, traced", flush=True)
        for n, mutant in enumerate(self.chosen):
            wanted = {(mutant.file, line) for line in mutant.lines}
            names = [test for test, (_, lines) in seen.items() if not wanted or lines & wanted]
            names = sorted(set(names) & items.keys(), key=lambda name: seen[name][0])
            limit = 30 + 3 * sum(seen[name][0] for name in names)
            if not killed(session, [items[name] for name in names], mutant, limit):
                self.survivors.append(mutant)
                print(f"[{n + 1}, {time.perf_counter() - begin:.0f} s, {len(names)} tests] {mutant}", flush=True)
        return True

    def clean(self, session: pytest.Session) -> Seen:
        """The seconds of each test that passes without a mutant, and the lines of the specification that it runs."""
        if not self.map.exists():
            if (child := os.fork()) == 0:
                try:
                    for file in files():  # shows too that to change nothing kills nothing
                        apply(Mutant(short(file), 0, "", "", file.read_text("utf-8"), range(0)))
                    self.map.write_bytes(pickle.dumps(traced(session)))
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        return pickle.loads(self.map.read_bytes())


def traced(session: pytest.Session) -> Seen:
    seen, failed = {}, 0
    names = {str(path): short(path) for path in files()}
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        lines: set[tuple[str, int]] = set()

        def local(frame: types.FrameType, event: str, _: object, lines: set[tuple[str, int]] = lines) -> Any:
            lines.add((names[frame.f_code.co_filename], frame.f_lineno))
            return local

        begin = time.process_time()
        sys.settrace(lambda frame, event, _: local if frame.f_code.co_filename in names else None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.settrace(None)
        if session.testsfailed == failed:
            seen[item.nodeid] = time.process_time() - begin, lines
        else:
            print(f"left out, since it fails without any mutant: {item.nodeid}", file=sys.__stdout__, flush=True)
        failed = session.testsfailed
    return seen


def killed(session: pytest.Session, items: list[pytest.Item], mutant: Mutant, limit: float) -> bool:
    """Whether a test fails, or the tests use up `limit` seconds of processor time."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1), os.dup2(silence, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
            apply(mutant)
            for item, following in zip(items, [*items[1:], None], strict=bool(items)):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    break
            else:
                status = 0
        finally:
            os._exit(status)
    end, status = time.monotonic() + 10 * limit, 0
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return done[1] != 0


def sample(found: list[Mutant], size: int, seed: int) -> list[Mutant]:
    """So many of all, of each file its share."""
    files, rng = Counter(mutant.file for mutant in found), random.Random(seed)
    chosen = []
    for file, count in files.items():
        own = [mutant for mutant in found if mutant.file == file]
        chosen += rng.sample(own, min(count, max(1, round(size * count / len(found)))))
    return chosen


def table(all_: list[Mutant], chosen: list[Mutant], alive: list[Mutant], excused: list[Mutant], seed: int) -> str:
    """Per file: mutants there are, drawn, killed, of no effect, and the share killed of those that have one."""
    lines = ["| refar/ | mutants | drawn | killed | without effect | survived |", "|---|---|---|---|---|---|"]
    counts = [Counter(mutant.file for mutant in some) for some in (all_, chosen, alive, excused)]
    for file in [*counts[1], None]:
        total, drawn, living, same = (count[file] if file else count.total() for count in counts)
        figures = f"| {total} | {drawn} | {drawn - living - same} | {same} | {living} |"
        lines.append(f"| {file or 'all'} {figures}")
    effective = len(chosen) - len(excused)
    killed = f"{effective - len(alive)} of {effective} that have an effect, {1 - len(alive) / effective:.1%}"
    return "\n".join([*lines, "", f"Killed: {killed}; drawn with seed {seed}."])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", help="where to write the table")
    parser.add_argument("--sample", type=int, default=250, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", help="of this file alone, such as oracle/run.py")
    parser.add_argument("--like", default="", help="those alone of which the original or changed line holds this text")
    parser.add_argument("--tests", nargs="*", default=TESTS)
    parser.add_argument("--map", type=Path, help="where to keep which test runs which line, for the next run")
    options = parser.parse_args()
    found = [m for path in files() if options.file in (None, short(path)) for m in mutants(path)]
    found = [mutant for mutant in found if options.like in mutant.was or options.like in mutant.becomes]
    chosen = sample(found, options.sample or len(found), options.seed)
    print(f"{len(chosen)} of {len(found)} mutants", flush=True)
    os.chdir(ROOT)
    plain = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:terminalreporter", "--capture=sys"]
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(chosen, options.map or Path(folder) / "map")
        if (code := pytest.main([*plain, *options.tests], plugins=[runner])) != 0:
            raise SystemExit(code)
    listed = tomllib.loads(EQUIVALENTS.read_text("utf-8"))["mutant"]
    known = {(group["file"], group["was"], becomes) for group in listed for becomes in group["becomes"]}
    excused = [m for m in runner.survivors if (m.file, m.was, m.becomes) in known]
    text = table(found, chosen, [m for m in runner.survivors if m not in excused], excused, options.seed)
    publish("mutation", text, [options.page] if options.page else [])


if __name__ == "__main__":
    main()
