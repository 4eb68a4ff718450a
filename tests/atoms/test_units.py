"""Units of energies, and what a file of structures says against the one that is declared."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("metatomic.torch")

from ase import Atoms, units
from ase.build import bulk, molecule

from jetsym.atoms.units import COMMON, contradictions, in_ev, total_energy_of_atoms
from jetsym.errors import ConfigError

#: Total energies by Hartree and Fock or better, Hartree.
TOTAL = {"H2": -1.17, "LiH": -8.07, "CH4": -40.5, "H2O": -76.4, "CH3CH2OH": -155.0, "SiH4": -291.9, "C6H6": -232.2}


def said(frames, unit, *, energies=None, forces=None, key="energy"):
    return contradictions(frames, key, unit, dict(enumerate(energies or ())), dict(enumerate(forces or ())))


@pytest.mark.parametrize("unit", ["kcal", "kJ", "J", "eV/mol"])
def test_a_unit_of_lumps_is_refused(unit):
    with pytest.raises(ConfigError, match="in which no energies of structures are given") as found:
        in_ev(unit)
    assert ("/mol' may be meant" in str(found.value)) == (unit in ("kcal", "kJ", "J"))


def test_known_units():
    expected = (1.0, units.kcal / units.mol, units.kJ / units.mol, units.Hartree, units.Rydberg, 1e-3)
    assert [in_ev(unit) for unit in COMMON] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("declared", ["eV", "kcal/mol", "kJ/mol", "Hartree"])
@pytest.mark.parametrize("real", ["eV", "kcal/mol", "kJ/mol", "Hartree"])
@pytest.mark.parametrize("name", TOTAL)
def test_total_energies_of_all_electrons_tell_a_unit_that_is_too_large(name, real, declared):
    frame, energy = molecule(name), TOTAL[name] * units.Hartree / in_ev(real)
    words = " ".join(said([frame], declared, energies=[energy]))
    assert ("times those of all electrons" in words) == (in_ev(declared) > 1.1 * in_ev(real))
    if words and name not in ("H2", "LiH"):
        assert f"and are those in {real} (unit={real!r} (--unit {real}))" in words.replace("'", "'")


def test_the_formula_is_within_some_per_cent_of_heavy_atoms():
    for number, hartree in {6: -37.69, 18: -526.8, 36: -2752.1, 79: -17865.4}.items():
        assert total_energy_of_atoms(np.array([number])) == pytest.approx(hartree * units.Hartree, rel=0.02)


@pytest.mark.parametrize(
    ("key", "info", "unit", "words"),
    [
        ("energy_kcal", {}, "eV", "energy is 'energy_kcal', by its name in kcal/mol, and unit is 'eV'"),
        ("E_eV", {}, "kcal/mol", "by its name in eV"),
        ("energy", {"energy_units": "Hartree"}, "eV", "'energy_units' of the structures is 'Hartree', in Hartree"),
        ("E_eV", {"unit": "eV/A"}, "eV", ""),
        ("level_energy", {"units": "arbitrary", "unit_cell": "kcal"}, "eV", ""),
        ("REF_energy", {}, "kcal/mol", ""),
    ],
)
def test_names_tell_units(key, info, unit, words):
    found = said([Atoms("Cu", info=info)], unit, key=key)
    assert len(found) == bool(words)
    assert words in " ".join(found)


def test_forces_that_no_structures_have_are_said():
    """Those of a molecule at some hundred kelvin, 0.9 eV/Å or 20 kcal/mol/Å."""
    frames, rng = [bulk("Cu")] * 20, np.random.default_rng(0)
    forces = [rng.normal(size=(9, 3)) * 20 for _ in frames]
    assert "half of the structures have forces of" in " ".join(said(frames, "eV", forces=forces))
    assert not said(frames, "kcal/mol", forces=forces)
    hot = [*forces[:5], *(forces[0] / 20 for _ in range(15))]  # some structures far from any minimum
    assert not said(frames, "eV", forces=hot)
