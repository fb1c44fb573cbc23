"""Which model segments a series that was sent: as rules say, and where they leave it open, as the scan fits."""

from __future__ import annotations

from collections.abc import Iterable

from wsseg.errors import WssegError
from wsseg.images.dicom.series import DicomScan, made_of
from wsseg.images.volume import Made
from wsseg.inference.quality.headers import check_made
from wsseg.models.shelf import find_package
from wsseg.server.compute import Compute
from wsseg.server.node.rules import Rules


def choose_model(rules: Rules, compute: Compute, device: str, scan: DicomScan) -> str:
    """The model of the rule that the header meets, where it is one and the header lacks nothing that it asks for.

    Else, of all models that the header does not speak against, the one that the
    scan fits best; if it fits none, the first of those that do not know what fits.

    Raises:
        WssegError: no rule names a model, the header speaks against all that are
            named, or the scan fits none of them.
    """
    named = rules.candidates(scan.sources[0])
    if not named:
        raise WssegError("no rule names a model for such a series")
    possible = _possible(made_of(scan.sources[0]), named)
    if len(possible) == 1 and named[possible[0]]:
        return possible[0]
    fits = {model: compute.fits(model, device, scan.volume) for model in possible}
    fitting = {model: each.p for model, each in fits.items() if each is not None and not each.doubtful}
    if fitting:
        return max(fitting, key=lambda model: fitting[model])
    unknown = [model for model, each in fits.items() if each is None]
    if unknown:
        return unknown[0]
    told = "; ".join(f"{model}, {each}" for model, each in fits.items())
    raise WssegError(f"fits none of the models that rules name for such a series: {told}")


def _possible(made: Made, models: Iterable[str]) -> list[str]:
    """Models that read such a modality and part of the body, as far as the header says."""
    possible, refusals = [], []
    for model in models:
        try:
            check_made(made, find_package(model))
            possible.append(model)
        except WssegError as error:
            refusals.append(str(error))
    if not possible:
        raise WssegError("; ".join(refusals))
    return possible
