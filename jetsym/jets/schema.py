"""JetClass's schema: the one place where branch names, their types and the order of the classes are written down.

The tree is called ``tree``. Per-particle branches are ragged, sorted by falling pT; per-jet branches are flat.
Momenta and energies are in GeV, angles in radians, displacements in millimetres (d0, dz and their errors).
Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, and the files themselves.
"""

from __future__ import annotations

__all__ = [
    "AUX_BRANCHES",
    "CLASSES",
    "CLASSES_II",
    "EVENT_BRANCHES",
    "JET_BRANCHES",
    "JET_OBSERVERS",
    "LABEL_BRANCHES",
    "P4_BRANCHES",
    "PARTICLE_BRANCHES",
    "SCALARS",
    "SCALAR_BRANCHES",
    "TREE",
    "WEIGHT",
]

TREE = "tree"

#: Numbers of events, as files of the layout may have them beside its own branches.
EVENT_BRANCHES = ("event", "event_number", "eventNumber", "EventNumber")

#: The per-jet column that weighs the jets, see :mod:`jetsym.jets.weights`.
WEIGHT = "weight"

#: Label order of the ten classes, as in the field's configurations.
CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")

# JetClass-II's decay products and flavour contents, in the order of its jet_label.
_TWO_PRONGS = "bb cc ss qq bc cs bq cq sq gg ee mm tauhtaue tauhtaum tauhtauh"
_FOUR_PRONGS = (
    "bbbb bbcc bbss bbqq bbgg bbee bbmm bbtauhtaue bbtauhtaum bbtauhtauh bbb bbc bbs bbq bbg bbe bbm "
    "cccc ccss ccqq ccgg ccee ccmm cctauhtaue cctauhtaum cctauhtauh ccb ccc ccs ccq ccg cce ccm "
    "ssss ssqq ssgg ssee ssmm sstauhtaue sstauhtaum sstauhtauh ssb ssc sss ssq ssg sse ssm "
    "qqqq qqgg qqee qqmm qqtauhtaue qqtauhtaum qqtauhtauh qqb qqc qqs qqq qqg qqe qqm "
    "gggg ggee ggmm ggtauhtaue ggtauhtaum ggtauhtauh ggb ggc ggs ggq ggg gge ggm "
    "bee cee see qee gee bmm cmm smm qmm gmm btauhtaue ctauhtaue stauhtaue qtauhtaue gtauhtaue "
    "btauhtaum ctauhtaum stauhtaum qtauhtaum gtauhtaum btauhtauh ctauhtauh stauhtauh qtauhtauh gtauhtauh "
    "qqqb qqqc qqqs bbcq ccbs ccbq ccsq sscq qqbc qqbs qqcs bcsq bcs bcq bsq csq "
    "bcev csev bqev cqev sqev qqev bcmv csmv bqmv cqmv sqmv qqmv bctauev cstauev bqtauev cqtauev sqtauev qqtauev "
    "bctaumv cstaumv bqtaumv cqtaumv sqtaumv qqtaumv bctauhv cstauhv bqtauhv cqtauhv sqtauhv qqtauhv"
)
_QCD_FLAVOURS = (
    "bbccss bbccs bbcc bbcss bbcs bbc bbss bbs bb bccss bccs bcc bcss bcs bc bss bs b ccss ccs cc css cs c ss s light"
)

#: The 188 classes of JetClass-II in the order of its ``jet_label`` (C. Li et al., "Accelerating Resonance Searches
#: via Signature-Oriented Pre-training", arXiv:2405.12972), named as Sophon's outputs are, without ``label_``.
CLASSES_II = (
    *(f"X_{products}" for products in _TWO_PRONGS.split()),
    *(f"X_YY_{products}" for products in _FOUR_PRONGS.split()),
    *(f"QCD_{flavours}" for flavours in _QCD_FLAVOURS.split()),
)

#: Constituent four-momenta in the file's own names and order; JetBatch holds (E, px, py, pz).
P4_BRANCHES = ("part_energy", "part_px", "part_py", "part_pz")

#: Per-particle quantities that are not momenta, as JetBatch.scalars holds them along its last axis.
SCALARS = (
    "charge",
    "isChargedHadron",
    "isNeutralHadron",
    "isPhoton",
    "isElectron",
    "isMuon",
    "d0val",
    "d0err",
    "dzval",
    "dzerr",
)
SCALAR_BRANCHES = tuple(f"part_{name}" for name in SCALARS)

#: Branch -> numpy dtype of the 16 ragged per-particle branches, in JetClass's order.
PARTICLE_BRANCHES = {
    "part_px": "float32",
    "part_py": "float32",
    "part_pz": "float32",
    "part_energy": "float32",
    "part_deta": "float32",
    "part_dphi": "float32",
    "part_d0val": "float32",
    "part_d0err": "float32",
    "part_dzval": "float32",
    "part_dzerr": "float32",
    "part_charge": "float32",
    "part_isChargedHadron": "int32",
    "part_isNeutralHadron": "int32",
    "part_isPhoton": "int32",
    "part_isElectron": "int32",
    "part_isMuon": "int32",
}

#: Branch -> numpy dtype of the ten labels; JetClass mixes three types, which is why readers cast before stacking.
LABEL_BRANCHES = {
    "label_QCD": "float32",
    "label_Hbb": "bool",
    "label_Hcc": "bool",
    "label_Hgg": "bool",
    "label_H4q": "bool",
    "label_Hqql": "bool",
    "label_Zqq": "int32",
    "label_Wqq": "int32",
    "label_Tbqq": "int32",
    "label_Tbl": "int32",
}

#: Per-jet quantities that may be shown beside predictions.
JET_OBSERVERS = {
    "jet_pt": "float32",
    "jet_eta": "float32",
    "jet_phi": "float32",
    "jet_energy": "float32",
    "jet_nparticles": "float32",
    "jet_sdmass": "float32",
    "jet_tau1": "float32",
    "jet_tau2": "float32",
    "jet_tau3": "float32",
    "jet_tau4": "float32",
}

#: Generator truth: never an input.
AUX_BRANCHES = {
    "aux_genpart_eta": "float32",
    "aux_genpart_phi": "float32",
    "aux_genpart_pid": "float32",
    "aux_genpart_pt": "float32",
    "aux_truth_match": "float32",
}

#: Branch -> numpy dtype of the 25 flat branches, in JetClass's order.
JET_BRANCHES = {**LABEL_BRANCHES, **JET_OBSERVERS, **AUX_BRANCHES}
