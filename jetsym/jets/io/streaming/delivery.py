"""Delivery: what becomes of a stream's batch before it is handed over: moved to a device, and featured there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.io.block import ColumnSet
from jetsym.jets.io.featured import FeaturedBatch, featured
from jetsym.jets.io.packed import RaggedBatch
from jetsym.jets.ragged_features import FeatureSet, scalars_of

__all__ = ["SLOTS", "Delivery"]

#: Particles of a jet that a network of the field takes, where nothing is asked for.
SLOTS = 128


@dataclass(frozen=True)
class Delivery:
    """The way of a stream's batches.

    Parameters
    ----------
    features
        The features to compute; None leaves batches without padding.
    slots
        Particles that there is room for in each jet; by default 128.
    device
        Where batches are to be; None leaves them on the CPU, in page-locked memory where there is an accelerator.

    Raises
    ------
    ConfigError
        ``slots`` is given, and no features.
    """

    features: FeatureSet | None = None
    slots: int | None = None
    device: torch.device | None = None

    def __post_init__(self) -> None:
        if self.slots is not None and self.features is None:
            raise ConfigError(
                f"slots={self.slots} is given, and features=None; expected features, as batches are not padded "
                "without: features='full', or batch.to_padded(…)"
            )

    @property
    def works(self) -> bool:
        """True if there is anything to do that another thread should."""
        return self.features is not None or self.device is not None

    def expect(self, columns: ColumnSet, scalars: tuple[str, ...], where: object) -> None:
        """Refuse a stream whose jets lack what the features are made of.

        Raises
        ------
        ConfigError
            They are not asked for.
        DataError
            The files do not have them.
        """
        needed = () if self.features is None else scalars_of(self.features)
        if needed and columns == "kin":
            raise ConfigError(
                f"columns='kin' are momenta alone, and features={self.features!r} are made of "
                f"{', '.join(needed[:3])}, …; expected columns='full', or features='kin'"
            )
        for name in needed:
            if name not in scalars:
                raise DataError(
                    f"{where}: the jets have no scalar {name!r}, of which features={self.features!r} are made; "
                    f"{closest(name, scalars)}; features='kin' are made of momenta alone"
                )

    def __call__(self, batch: RaggedBatch) -> RaggedBatch | FeaturedBatch:
        """Bring a batch to its device."""
        there = torch.cuda.is_available()
        if self.device is not None and self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device)
            return batch if self.features is None else self._featured(batch)
        found = batch if self.features is None else self._featured(batch)
        if self.device is None:
            return found.pin_memory() if there else found
        return found.to(self.device)

    def _featured(self, batch: RaggedBatch) -> FeaturedBatch:
        assert self.features is not None
        return featured(batch, self.features, slots=SLOTS if self.slots is None else self.slots)
