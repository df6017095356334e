"""What a number measures, in which unit, and whether more of it is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """What a number measures and in which unit.

    `higher_is_better` is None where no direction is better: a parameter count, a difference.
    """

    name: str
    unit: str
    higher_is_better: bool | None

    @property
    def decimals(self) -> int:
        """Digits after the point of a measured number: tenths of a point, thousandths of a nat."""
        return 3 if self.unit == "nat" else 1


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("top-1 accuracy", "%", True),
        Quantity("top-5 accuracy", "%", True),
        Quantity("top-1 error", "%", False),
        Quantity("mean corruption error, AlexNet = 100", "%", False),
        Quantity("corruption error", "%", False),
        Quantity("box AP", "%", True),
        Quantity("mask AP", "%", True),
        Quantity("mean IoU", "%", True),
        Quantity("mean class accuracy", "%", True),
        Quantity("pixel accuracy", "%", True),
        Quantity("cross-entropy loss", "nat", False),
        Quantity("wall-clock time", "h", False),
        Quantity("speed-up", "×", True),
        Quantity("FLOPs relative to the default", "×", False),
        Quantity("parameters", "M", None),
        Quantity("difference", "points", None),
        Quantity("standard deviation", "points", None),
    )
}
