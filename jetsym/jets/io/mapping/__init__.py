"""Mappings from the columns of any file to jets: YAML files that say which hold what.

::

    tree: Events                        # or a group of HDF5; may be left out where a file holds a single tree
    particles:
      pt: fj_part_pt                    # px, py, pz or pt, eta (or rapidity), phi, with energy or mass
      eta: fj_part_eta
      phi: fj_part_phi
      mass: 0.13957
      units: GeV                        # of momenta, energies and masses; GeV if not given, or MeV
      where: fj_part_pt > 0.5           # only these particles; padding must be left out so
      order: pt                         # sort by falling pT; in the order of the file if not given
      charge: fj_part_charge            # none of the further quantities, the charge and the five flags, or all ten
      isChargedHadron: abs(fj_part_pdg) == 211
      ...
      # jet: FatJetPFCands_jetIdx       # several jets in an entry: of which jet a particle is, or a row of a table ...
      # index: FatJetPFCands_pFCandsIdx # ... between jets and particles, and which particle that row is
    jet:                                # the jet axis, in the same forms; the sum of the particles if not given
      {px: fj_px, py: fj_py, pz: fj_pz, energy: fj_e, units: MeV}
    columns:                            # further numbers of jets
      jet_sdmass: fj_msd / 1000
    targets:                            # columns as well, the numbers that a regression shall tell
      jet_genmass: fj_genmass / 1000
    features:                           # an input of one's own, beside the momenta: JetBatch.inputs["features"]
      length: 128
      variables:
        charge: fj_part_charge          # as it is, or standardised, (x − centre) · scale, and clipped:
        log_pt: {of: log(fj_part_pt), centre: 1.7, scale: 0.7, smallest: -5, largest: 5}
        dxy: {of: fj_part_dxy, centre: measured, scale: measured}   # on the training data, and kept with the run
    particle_labels:                    # numbers that are told of particles, −1 where there is none
      {length: 128, variables: {origin: fj_part_origin}}
    collections:                        # inputs of other members than the particles
      vertices: {length: 10, variables: {mass: sv_mass, share: sv_pt / fj_pt}}
    labels:                             # one of three forms, in the order of the classes; unlabelled if not given
      one_hot: {QCD: is_qcd, top: is_top}
      # value: fj_flavour
      # classes: {light: [1, 2, 3], c: 4, b: 5}          (or a list of names for 0, 1, 2, ...)
      # files: {QCD: "QCD_*.root", top: [top_a.root, "top/*.root"]}
    selection: fj_pt > 200e3 and abs(fj_eta) < 2         # only these jets
    reweight:                           # a column `weight`, see jetsym.jets.io.mapping.reweighting
      bins: {fj_pt / 1000: [200, 300, 500, 1000], fj_msd / 1000: [0, 50, 100, 200]}
      to: flat                          # or the name of a class
      cap: 10                           # largest weight, where 1 is the mean; none if not given
    friends: {Extra: "{stem}_extra.root"}   # as many entries beside the data, {stem} its name: `Extra.branch`

A file is a ROOT tree, an RNTuple, a Parquet or HDF5 file or a ``.npz``. A leaf of a leaf list, and a field of a
record, of a list of records or of a compound array is `` `name.field` ``; a place in the last axis of an array is ``
`name.0` ``; columns that pandas numbers, ``E_0``, ``E_1``, …, are together the lists ``E``. Fixed arrays are lists of
one length.

An entry is a jet, but where the particles are lists of lists (one list a jet) or have ``jet`` and ``index``: then
numbers of jets are lists with one number a jet, numbers of the entry are of all its jets, and jets are counted
through the file. With ``jet``, a list is of jets, of particles or of rows of the table as its name begins like one of
those named so (up to the last _).

Mappings of public sets have names (:data:`jetsym.jets.io.mapping.parse.PUBLIC`) that stand for files, as in
``--mapping jetnet``.

A data configuration of weaver-core, known by its keys ``inputs`` and ``labels``, is a mapping as well; what becomes of
its keys is said in :mod:`jetsym.jets.io.mapping.weaver`.

What can stand in expressions is said in :mod:`jetsym.jets.io.mapping.expressions`; nothing in them is run by Python.
The particles' quantities are those of :data:`jetsym.jets.schema.SCALARS`, lengths in mm; a flag that the tree does not
tell is written as ``isMuon: 0``. Weights are computed from all jets of all files that the selection leaves, also where
only some of them are read; jets outside of the bins have none. A column ``weight``, computed or given as ``columns:
{weight: genWeight}``, counts in training, validation and evaluation (:mod:`jetsym.jets.weights`); ``--weights none``
leaves it out.
"""
