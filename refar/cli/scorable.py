"""A bundle or a run as something that scores: a run is exported for as long as it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from refar.cli import examples, values
from refar.cli.sources import bundle_path, encoder_of, is_run, open_source

if TYPE_CHECKING:
    from refar.runtime.session import Session


@contextmanager
def opened(text: str, provider: str) -> Iterator[Session]:
    """A session of a bundle, or of a run through a bundle that is removed afterwards. Raises as `bundle_path` does."""
    from refar import runtime

    if not is_run(Path(text)):
        yield runtime.load(bundle_path(text), values.device(provider))
        return
    import refar_export

    run = open_source(text)
    assert run.params is not None
    with tempfile.TemporaryDirectory(prefix="refar-") as folder:
        bundle = Path(folder, "bundle")
        refar_export.export(
            run.graph, run.params, bundle, metadata=examples.metadata(run), encoder=encoder_of(Path(text)), verify=False
        )
        yield runtime.load(bundle, values.device(provider))
