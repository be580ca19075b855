"""What the networks over images share: how pixels come in, conditions, and the heads."""

from __future__ import annotations

from refar import ops
from refar.building.builder import Builder
from refar.errors import GraphError
from refar.models.conditions import add_condition


def add_pixels(g: Builder, classes: int, channels: int, mean: float | None, std: float | None) -> str:
    """The image x_bchw of class indices as (x - mean) / std; both are (classes-1)/2 by default, so that -1 ≤ value ≤ 1."""
    middle = (classes - 1) / 2
    image = g.image(classes=classes, channels=channels)
    return g.standardize(image, middle if mean is None else mean, middle if std is None else std)


def add_conditions(g: Builder, model: str, condition: str | None, local: str | None) -> dict[str, str]:
    """The conditions that there are, as real values: one for the whole image, and one for each pixel."""
    given = {
        "condition": add_condition(g, model, "condition", condition),
        "local": add_condition(g, model, "local", local, local=True, image=True),
    }
    return {name: node for name, node in given.items() if node is not None}


def conditioned(g: Builder, z: str, channels: int, given: dict[str, str], prefix: str = "") -> str:
    """z + V·c + U·l_hw, with matrices of their own, no bias, and the names `condition` and `local` after the prefix."""
    terms = [z]
    for name, node in given.items():
        matrix = g.conv2d if name == "local" else g.conv1d
        terms.append(matrix(node, channels, bias=False, name=f"{prefix}{name}"))
    return g.add(*terms, name=f"{prefix}conditioned") if len(terms) > 1 else z


def image_head(classes: int, channels: int, mixture: int) -> tuple[ops.AnyHead, int]:
    """The head for C colours, and the channels that it takes: C·Q logits, or 3·C·K for a mixture of K logistics."""
    if mixture:
        return ops.MixtureLogistics(mixture, classes), 3 * channels * mixture
    return ops.Categorical(), channels * classes


def check_kernels(model: str, kernel: int, first: int | None = None) -> None:
    """Raise GraphError, naming the option, for a kernel without a centre, and for a first one that mask A leaves empty."""
    for name, side, least in (("kernel", kernel, 1), ("first_kernel", first, 3)):
        if side is not None and (side % 2 == 0 or side < least):
            raise GraphError(f"{model}: {name}: expected an odd number ≥ {least}, so that the pixel is its centre, got {side}")


def check_colours(model: str, channels: int, hidden: int) -> None:
    """Raise GraphError, naming the option, for hidden channels that the colours do not share out evenly."""
    if hidden % channels:
        raise GraphError(f"{model}: hidden: expected a multiple of the {channels} colours (option 'channels'), got {hidden}")
