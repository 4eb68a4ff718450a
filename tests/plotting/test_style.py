"""One look per irrep."""

from jetsym.plotting import irrep_style
from jetsym.spectrum import O3


def test_every_irrep_looks_different_and_always_the_same():
    irreps = O3().irreps(12)
    looks = [(style["color"], style["linestyle"]) for style in map(irrep_style, irreps)]
    assert len(set(looks)) == len(irreps)
    assert irrep_style(irreps[3]) == irrep_style(irreps[3])
