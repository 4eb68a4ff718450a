"""The contract that every domain keeps."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.domains.base import Domain
from jetsym.errors import JetsymError
from jetsym.spectrum import O3
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["DomainContract"]


class DomainContract:
    """Tests of a domain: its inputs are counted, selected and batched, and O(3) acts on them as a group.

    Attributes
    ----------
    tolerance
        How far moved numbers may be off, relative to the largest.
    """

    tolerance: float = 1e-6

    def domain(self) -> Domain:
        """Make the domain."""
        raise NotImplementedError

    def inputs(self) -> Any:
        """Make at least three inputs, as :meth:`Domain.load` returns them."""
        raise NotImplementedError

    def numbers(self, inputs: Any) -> NDArray[np.float64]:
        """Return what the group moves, (samples, …)."""
        return np.asarray(inputs, dtype=np.float64)

    def elements(self, *shape: int) -> NDArray[np.float64]:
        """Draw elements of O(3), (*shape, 3, 3), reflections among them."""
        drawn = O3().rotations(int(np.prod(shape)), np.random.default_rng(0))
        signs = np.where(np.arange(len(drawn)) % 2, -1.0, 1.0)
        return (drawn * signs[:, None, None]).reshape(*shape, 3, 3)

    def alike(self, found: Any, expected: Any) -> None:
        """Assert that two sets of inputs hold the same numbers, but for rounding."""
        a, b = self.numbers(found), self.numbers(expected)
        np.testing.assert_allclose(a, b, rtol=0, atol=self.tolerance * float(np.abs(b).max()))

    def test_inputs_are_counted_and_selected(self) -> None:
        """A selection holds what its slice says."""
        domain, inputs = self.domain(), self.inputs()
        n = domain.size(inputs)
        assert n >= 3
        some = domain.select(inputs, slice(1, 3))
        assert domain.size(some) == 2
        self.alike(some, domain.select(domain.select(inputs, slice(0, 3)), slice(1, 3)))

    def test_batches_cover_all_inputs_once(self) -> None:
        """The slices of inputs that share a pass hold each input once, in order."""
        domain, inputs = self.domain(), self.inputs()
        covered = [place for part in domain.batches(inputs) for place in range(part.start, part.stop)]
        assert covered == list(range(domain.size(inputs)))

    def test_the_identity_moves_nothing(self) -> None:
        """The identity leaves every input as it is."""
        domain, inputs = self.domain(), self._together()
        self.alike(domain.move(inputs, np.eye(3)[None]), inputs)

    def test_elements_make_so_many_inputs(self) -> None:
        """The elements n of the group make n · samples inputs, element by element."""
        domain, inputs = self.domain(), self._together()
        elements, n = self.elements(4), domain.size(inputs)
        moved = domain.move(inputs, elements)
        assert domain.size(moved) == 4 * n
        for place in range(4):
            one = domain.move(inputs, elements[place][None])
            self.alike(domain.select(moved, slice(place * n, (place + 1) * n)), one)

    def test_every_input_may_have_elements_of_its_own(self) -> None:
        """Elements (n, samples, 3, 3) move each input by its own."""
        domain, inputs = self.domain(), self._together()
        n = domain.size(inputs)
        own = self.elements(2, n)
        moved = domain.move(inputs, own)
        for sample in range(n):
            alone = domain.move(domain.select(inputs, slice(sample, sample + 1)), own[1, sample][None])
            self.alike(domain.select(moved, slice(n + sample, n + sample + 1)), alone)

    def test_moves_are_an_action(self) -> None:
        """Moving by h and then by g is moving by gh."""
        domain, inputs = self.domain(), self._together()
        g, h = self.elements(2)
        twice = domain.move(domain.move(inputs, h[None]), g[None])
        once = domain.move(inputs, (g @ h)[None])
        self.alike(twice, once)
        before = self.numbers(inputs)
        assert np.abs(self.numbers(once) - before).max() > self.tolerance * np.abs(before).max(), "nothing is moved"

    def test_moves_do_not_change_the_inputs_they_are_given(self) -> None:
        """A move makes new inputs."""
        domain, inputs = self.domain(), self._together()
        before = self.numbers(inputs).copy()
        domain.move(inputs, self.elements(2))
        np.testing.assert_array_equal(self.numbers(inputs), before)

    def test_the_mask_fits(self) -> None:
        """A mask, where there is one, is (samples, tokens) and boolean."""
        domain, inputs = self.domain(), self._together()
        mask = domain.mask(inputs)
        if mask is not None:
            assert mask.ndim == 2
            assert mask.shape[0] == domain.size(inputs)
            assert str(mask.dtype).endswith("bool")

    def test_points_change_places(self) -> None:
        """Where points are counted, their slots can be changed; empty ones are added where there is a mask."""
        domain, inputs = self.domain(), self._together()
        n, slots, mask = domain.size(inputs), domain.slots(inputs), domain.mask(inputs)
        if slots is None:
            return
        places = np.tile(np.arange(slots), (n, 1))
        self.alike(domain.rearrange(inputs, places), inputs)
        back = domain.rearrange(domain.rearrange(inputs, places[:, ::-1]), places[:, ::-1])
        self.alike(back, inputs)
        assert domain.slots(domain.rearrange(inputs, places[:, 1:])) == slots - 1
        if mask is not None:
            wider = domain.mask(domain.rearrange(inputs, np.concatenate([places, np.full((n, 1), -1)], axis=1)))
            assert tuple(wider.shape) == (n, slots + 1)
            assert not bool(wider[:, -1].any()), "an empty slot counts as real"

    def test_symmetries_act_or_are_refused(self) -> None:
        """O(3) acts in the lab; what has no law is refused by a JetsymError."""
        domain, inputs = self.domain(), self._together()
        prepared, action = domain.act(inputs, Symmetry(GroupName.O3), seed=0)
        elements = self.elements(2)
        self.alike(action.move(prepared, elements), domain.move(inputs, elements))
        assert action.note
        for symmetry in (Symmetry(GroupName.O3, frame="rest"), Symmetry(GroupName.BOOST)):
            with suppress(JetsymError):  # any other error comes through
                domain.act(inputs, symmetry, seed=0)

    def _together(self) -> Any:
        """Make inputs that share a pass."""
        domain, inputs = self.domain(), self.inputs()
        return domain.select(inputs, max(domain.batches(inputs), key=lambda part: part.stop - part.start))
