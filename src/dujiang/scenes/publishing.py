"""Moving a label: to one version, or so that a version gets a share of the label's calls."""

from collections.abc import Mapping

from dujiang.core.errors import InvalidRequest, Unprocessable

Share = Mapping[str, float]
Labels = Mapping[str, int | Share]

WHOLE = 100.0


def percent_of(weight: float) -> float:
    """A share of the calls in percent: as it is from 1 to 100, or a fraction below 1. Raises `InvalidRequest`."""
    if not 0 < weight <= WHOLE:
        raise InvalidRequest(
            "`weight` is a share of the label's calls: 1 to 100 percent, or a fraction below 1.", param="weight"
        )
    return weight if weight >= 1 else weight * WHOLE


def published(labels: Labels, label: str, version: int, percent: float) -> dict[str, int | Share]:
    """The labels once `version` has `percent` of the calls of `label`; the others share the rest as they did.

    Raises `Unprocessable` where there is nobody to share with.
    """
    if percent == WHOLE:
        return {**labels, label: version}
    others = {number: weight for number, weight in _shares(labels.get(label)).items() if number != str(version)}
    if not others:
        raise Unprocessable(
            f"The label `{label[:64]}` has no other version to share its calls with: publish it without `weight`.",
            param="weight",
        )
    total = sum(others.values())
    rest = {number: round(weight / total * (WHOLE - percent), 6) for number, weight in others.items()}
    return {**labels, label: {**rest, str(version): round(percent, 6)}}


def uses(labels: Labels, version: int) -> list[str]:
    """The labels by which a version is called."""
    return [label for label, target in labels.items() if str(version) in _shares(target)]


def _shares(target: int | Share | None) -> Share:
    if target is None:
        return {}
    return {str(target): WHOLE} if isinstance(target, int) else target
