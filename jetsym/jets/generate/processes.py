"""The ten JetClass classes as Pythia 8 processes: settings, file names, and what a jet must contain to be one of them.

The classes and their truth definitions follow H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging",
arXiv:2202.03772. JetClass itself takes its hard processes from MadGraph5_aMC@NLO; here Pythia's own leading-order
matrix elements stand in for them: proton-proton at 13 TeV with parton showers, multiparton interactions and
hadronisation of Pythia's default (Monash) tune.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMMON_SETTINGS", "PROCESSES", "Process"]

#: Smallest transverse momentum of the hard 2 → 2 scattering, in GeV. Recoil against initial-state radiation lifts jets
#: over the selection's 500 GeV from far below; starting at 400 instead of 350 GeV loses 1 to 5 per cent of the jets,
#: all of them close to 500 GeV, and halves the time.
_PT_HAT_MIN = 400.0

#: Settings of every class.
COMMON_SETTINGS = (
    "Print:quiet = on",
    "Beams:idA = 2212",
    "Beams:idB = 2212",
    "Beams:eCM = 13000.",
    f"PhaseSpace:pTHatMin = {_PT_HAT_MIN}",
    "25:m0 = 125.",
)

_Z_INVISIBLE = ("23:onMode = off", "23:onIfAny = 12 14 16")
_ZH = ("HiggsSM:ffbar2HZ = on", *_Z_INVISIBLE, "25:onMode = off")
_ZH_WW = (*_ZH, "25:onIfMatch = 24 -24", "24:onMode = off")
_ZJ = ("WeakBosonAndParton:qqbar2gmZg = on", "WeakBosonAndParton:qg2gmZq = on", "WeakZ0:gmZmode = 2", *_Z_INVISIBLE)
_ZZ = ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2", "23:onMode = off")
_ZW = ("WeakDoubleBoson:ffbar2ZW = on", *_Z_INVISIBLE, "24:onMode = off")
_TTBAR = ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off")
_QUARKS = "1 2 3 4 5"


@dataclass(frozen=True, kw_only=True)
class Process:
    """The process and the decay by which jets of one class are made and recognised.

    Parameters
    ----------
    file_stem
        JetClass's file name without its number: ``HToBB`` for ``HToBB_000.root``.
    settings
        Pythia settings besides :data:`COMMON_SETTINGS`: the hard process and the decays.
    parent
        |PDG number| of the decaying particle that makes the jet; 0 for QCD, where it is the hard quark or gluon.
    partons, leptons
        Number of quarks or gluons, and of electrons or muons, among the parent's decay products. All of them have to
        lie in the jet.
    per_event
        Number of such parents in an event. Pythia's decay switches alone would also give Z Z → 4 quarks or 4
        neutrinos; events with another number are thrown away.
    truth_match
        JetClass's code of the match, ``aux_truth_match``. Where charm among the quarks of a W, the flavour of a lepton
        or of the quarks of a Z has a code of its own, this is the first of them; see :mod:`.matching`.
    """

    file_stem: str
    settings: tuple[str, ...]
    parent: int
    partons: int
    leptons: int = 0
    per_event: int = 1
    truth_match: int


#: Class name -> its process, in JetClass's label order. A lepton is an electron or a muon, of either charge, as in
#: JetClass; tau leptons are switched off.
PROCESSES: dict[str, Process] = {
    "QCD": Process(file_stem="ZJetsToNuNu", settings=_ZJ, parent=0, partons=1, truth_match=50),
    "Hbb": Process(file_stem="HToBB", settings=(*_ZH, "25:onIfMatch = 5 -5"), parent=25, partons=2, truth_match=41),
    "Hcc": Process(file_stem="HToCC", settings=(*_ZH, "25:onIfMatch = 4 -4"), parent=25, partons=2, truth_match=42),
    "Hgg": Process(file_stem="HToGG", settings=(*_ZH, "25:onIfMatch = 21 21"), parent=25, partons=2, truth_match=44),
    "H4q": Process(
        file_stem="HToWW4Q", settings=(*_ZH_WW, f"24:onIfAny = {_QUARKS}"), parent=25, partons=4, truth_match=45
    ),
    "Hqql": Process(
        file_stem="HToWW2Q1L",
        settings=(*_ZH_WW, f"24:onIfAny = {_QUARKS} 11 13"),
        parent=25,
        partons=2,
        leptons=1,
        truth_match=46,
    ),
    "Zqq": Process(
        file_stem="ZToQQ", settings=(*_ZZ, f"23:onIfAny = {_QUARKS} 12 14 16"), parent=23, partons=2, truth_match=31
    ),
    "Wqq": Process(file_stem="WToQQ", settings=(*_ZW, f"24:onIfAny = {_QUARKS}"), parent=24, partons=2, truth_match=21),
    "Tbqq": Process(
        file_stem="TTBar",
        settings=(*_TTBAR, f"24:onIfAny = {_QUARKS}"),
        parent=6,
        partons=3,
        per_event=2,
        truth_match=11,
    ),
    "Tbl": Process(
        file_stem="TTBarLep",
        settings=(*_TTBAR, "24:onIfAny = 11 13"),
        parent=6,
        partons=1,
        leptons=1,
        per_event=2,
        truth_match=15,
    ),
}
