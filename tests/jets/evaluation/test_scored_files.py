"""Scores in files: of jetsym predict, of weaver-core, of others; ways to name classes and labels, and to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import uproot
from scipy.special import expit, log_softmax, softmax

from jetsym import cli
from jetsym.errors import DataError
from jetsym.jets import read
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.scored_files import evaluate_scores, read_scores
from jetsym.jets.io.columns import open_columns
from jetsym.jets.models import PointNet

NAMES = ("QCD", "Tbqq", "Wqq")
RNG = np.random.default_rng(0)
LABEL = np.arange(240) % 3
LOGITS = RNG.normal(size=(240, 3)) + 1.5 * np.eye(3)[LABEL]
SCORES = softmax(LOGITS, axis=1)


def scores(prefix: str = "score_", table: np.ndarray = SCORES, names=NAMES) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": table[:, place].astype("float32") for place, name in enumerate(names)}


def flags(prefix: str = "label_", label: np.ndarray = LABEL, names=NAMES) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": label == place for place, name in enumerate(names)}


def npz(path: Path, *columns: dict[str, np.ndarray], **more: np.ndarray) -> Path:
    np.savez(path, **{name: values for each in columns for name, values in each.items()}, **more)
    return path


@pytest.fixture
def write(tmp_path):
    """One file of each format, with the same columns."""

    def made(suffix: str, columns: dict[str, np.ndarray]) -> Path:
        path = tmp_path / f"s{suffix}"
        if suffix == ".npz":
            return npz(path, columns)
        if suffix in (".root", ".events.root", ".ntuple.root"):
            with uproot.recreate(path) as file:
                if suffix == ".ntuple.root":
                    file["tree"] = columns
                    return path
                tree = "Events" if "events" in suffix else "results"
                file.mktree(tree, {name: values.dtype for name, values in columns.items()}).extend(columns)
        elif suffix == ".parquet":
            arrow = pytest.importorskip("pyarrow")
            pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path)
        else:
            h5py = pytest.importorskip("h5py")
            with h5py.File(path, "w") as file:
                if suffix == ".h5":
                    for name, values in columns.items():
                        file[f"jets/{name}"] = values
                else:
                    table = np.zeros(240, [(name, values.dtype) for name, values in columns.items()])
                    for name, values in columns.items():
                        table[name] = values
                    file["jets"] = table
        return path

    return made


FORMATS = (".npz", ".root", ".events.root", ".ntuple.root", ".parquet", ".h5", ".hdf5")


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_of_every_format(suffix, write):
    path = write(suffix, {**scores(), **flags(), "jet_pt": np.linspace(500, 900, 240)})
    found = evaluate_scores(path)
    expected = assess(
        torch.from_numpy(SCORES.astype("float32")),
        torch.from_numpy(LABEL),
        classes=NAMES,
        jet_pt=torch.linspace(500, 900, 240, dtype=torch.float64),
        scores="probabilities",
    )
    assert found.classes == NAMES
    assert found.metrics == pytest.approx(expected.metrics)
    assert found.rejections == expected.rejections
    assert [each.jets for each in found.bins] == [each.jets for each in expected.bins]
    assert str(found).startswith("score_* on 240 jets")


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_what_predict_writes(suffix, jetclass_file, tmp_path):
    """The numbers are those of the model itself, from probabilities and from logits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PointNet(width=8, blocks=1).eval()
    data = [jetclass_file("a.root", n=60, seed=1), jetclass_file("b.root", n=50, seed=2)]
    out = predict(model, data, tmp_path / f"p{suffix}", logits=True, progress=False)
    expected = evaluate(model, read(data))
    for pattern in ("score_*", "logit_*"):
        found = evaluate_scores(out, pattern)
        assert found.classes == expected.classes
        assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)
        assert found.confusion == expected.confusion
        assert found.rejections == expected.rejections
        assert [each.jets for each in found.bins] == [each.jets for each in expected.bins]


def test_labels_by_name_where_the_tagger_has_its_classes_in_another_order(jetclass_file, tmp_path, write_tree):
    path = tmp_path / "p.root"
    with uproot.recreate(path) as file:
        columns = {**scores(), "label": np.array([2, 0, 1])[LABEL].astype("int32")}
        file["label_classes"] = json.dumps(["Tbqq", "Wqq", "QCD"])
        file.mktree("tree", {name: values.dtype for name, values in columns.items()}).extend(columns)
    np.testing.assert_array_equal(read_scores(path).label, LABEL)


LABELS = {
    "weaver-core": ({**scores("score_label_"), **flags()}, {}),
    "weaver-core with other names of labels": (
        {**scores("score_jet_is"), **flags("jet_is")},
        {},
    ),
    "numbers": ({**scores(), "label": LABEL}, {}),
    "names": ({**scores(), "truth": np.array(NAMES)[LABEL]}, {"label": "truth"}),
    "other flags": ({**scores("p_"), **flags("is_")}, {"label": "is_*", "scores": "p_*"}),
    "within a word": ({**scores("net_prob"), **flags()}, {"scores": "net_prob*"}),
    "columns one by one": ({**scores("net_p_"), **flags()}, {"scores": [f"net_p_{name}" for name in NAMES]}),
    "logits": ({**scores("logit_", LOGITS), **flags()}, {"scores": "logit_*"}),
    "logits by word": ({**scores("score_", LOGITS), **flags()}, {"kind": "logits"}),
    "log-probabilities": ({**scores("score_", log_softmax(LOGITS, axis=1)), **flags()}, {"kind": "logits"}),
    "numbers of another name": ({**scores(), "y": LABEL.astype("float32")}, {"label": "y"}),
}


@pytest.mark.parametrize("case", LABELS)
def test_how_classes_and_labels_are_named(case, tmp_path):
    columns, options = LABELS[case]
    found = read_scores(npz(tmp_path / "s.npz", columns), **options)
    assert tuple(name.removeprefix("jet_is") for name in found.classes) == NAMES
    np.testing.assert_array_equal(found.label, LABEL)
    np.testing.assert_allclose(found.logits.softmax(-1), SCORES, atol=1e-6)


def test_several_files_and_jets_of_some_classes_only(tmp_path):
    for place in range(3):
        own = place == LABEL
        npz(tmp_path / f"{place}.npz", scores(table=SCORES[own]), label=LABEL[own])
    found = read_scores(str(tmp_path / "*.npz"))
    np.testing.assert_array_equal(found.label, np.sort(LABEL))
    assert found.jet_pt is None
    npz(tmp_path / "3.npz", scores(names=NAMES[:2]), label=LABEL % 2)
    with pytest.raises(DataError, match=r"3\.npz: has scores score_QCD, score_Tbqq of QCD, Tbqq, and .*0\.npz has"):
        read_scores(sorted(tmp_path.glob("*.npz")))


def test_the_188_classes(tmp_path):
    from jetsym.jets.schema import CLASSES_II

    label = np.arange(376) % 188
    table = softmax(RNG.normal(size=(376, 188)) + 3 * np.eye(188)[label], axis=1)
    path = npz(tmp_path / "s.npz", scores("score_label_", table, CLASSES_II[::-1]), jet_label=label)
    found = read_scores(path)
    assert found.classes == CLASSES_II[::-1]
    np.testing.assert_array_equal(found.label, 187 - label)


# --- one column for two classes ---

Z = RNG.normal(size=300) + 2 * (np.arange(300) % 2)
BINARY = (np.arange(300) % 2).astype("int32")
TWO = {"label_QCD": BINARY == 0, "label_top": BINARY == 1}


@pytest.mark.parametrize(
    ("columns", "options", "classes"),
    [
        ({"score": expit(Z), "label": BINARY}, {"scores": "score"}, ("background", "score")),
        ({"score_top": expit(Z), "label": BINARY}, {}, ("background", "top")),
        ({"score_top": expit(Z), **TWO}, {}, ("QCD", "top")),
        ({"score_QCD": expit(-Z), **TWO}, {}, ("top", "QCD")),
        ({"logit_top": Z, **TWO}, {"scores": "logit*"}, ("QCD", "top")),
        ({"disc_top": Z, **TWO}, {"scores": "disc_top", "kind": "logits"}, ("QCD", "top")),
        ({"score": expit(Z), "is_signal_new": BINARY}, {"scores": "score"}, ("QCD", "top")),
        ({"score_top": expit(Z), "kind": np.array(["QCD", "top"])[BINARY]}, {"label": "kind"}, ("QCD", "top")),
    ],
    ids=str,
)
def test_one_column_tells_two_classes_apart(columns, options, classes, tmp_path):
    path = npz(tmp_path / "s.npz", columns)
    jets = read_scores(path, **options)
    assert jets.classes == classes
    turned = classes[0] == "top"
    np.testing.assert_array_equal(jets.label, 1 - BINARY if turned else BINARY)
    odds = jets.logits.diff(dim=1).flatten()
    np.testing.assert_allclose(odds, -Z if turned else Z, atol=1e-6)
    found = evaluate_scores(path, **options, background=classes[0])
    quality = found.qualities[1]
    assert quality.auc_background == pytest.approx(((Z[BINARY == 1][:, None] > Z[BINARY == 0][None]).mean()), abs=1e-12)


def test_one_column_that_may_mean_either(tmp_path):
    path = npz(tmp_path / "s.npz", TWO, score=expit(Z))
    with pytest.raises(DataError, match="'score' may be larger for 'QCD' or for 'top'; expected a name ending"):
        read_scores(path, "score")
    with pytest.raises(
        DataError, match="'score_QCD' alone tells two classes apart, and the labels are of 3: QCD, Tbqq"
    ):
        read_scores(npz(tmp_path / "t.npz", scores(), flags()), "score_QCD")


@pytest.mark.parametrize(
    ("column", "names", "signal"),
    [
        ("prob", ("b", "s"), None),
        ("score_notQCD", ("QCD", "top"), None),
        ("score_not_QCD", ("QCD", "top"), None),
        ("score_anti_top", ("QCD", "top"), None),
        ("TvsQCD", ("QCD", "top"), None),
        ("output", ("q", "t"), None),
        ("top_like", ("QCD", "top"), None),
        ("prob_b", ("b", "s"), "b"),
        ("net.s", ("b", "s"), "s"),
        ("t", ("q", "t"), "t"),
        ("scoreQCD", ("QCD", "top"), "QCD"),
        ("score_H_bb", ("bb", "H_bb"), "H_bb"),
    ],
)
@pytest.mark.parametrize("flagged", [False, True])
def test_a_column_names_a_class_by_a_whole_word(column, names, signal, flagged, tmp_path):
    """Where none is named, the background tells, or labels 0 and 1; names in any order do not."""
    score = expit(Z if signal is None else Z if names[1] == signal else -Z)
    truth = {f"label_{name}": place == BINARY for place, name in enumerate(names)}
    path = npz(tmp_path / "s.npz", truth if flagged else {"label": np.array(names)[BINARY]}, **{column: score})
    expected = pytest.approx((Z[BINARY == 1][:, None] > Z[BINARY == 0][None]).mean(), abs=1e-12)
    if signal is None:
        with pytest.raises(DataError, match=rf"'{column}' may be larger for .* as background="):
            evaluate_scores(path, column)
        found = evaluate_scores(path, column, background=names[0])
        turned = evaluate_scores(path, column, background=names[1])
        assert turned.metrics["macro_auc_ovo"] == pytest.approx(1 - found.metrics["macro_auc_ovo"])
        signal = names[1]
    else:
        found = evaluate_scores(path, column)
    assert found.metrics["macro_auc_ovo"] == expected
    assert found.classes[1] == signal
    assert " ".join(str(found).split()).startswith(f"{column} (larger for {signal}) on 300 jets")


@pytest.mark.parametrize("column", ["prob", "score_notb", "score_not_b", "output"])
def test_a_column_that_names_no_class_is_of_label_1(column, tmp_path):
    for names, told in ((("b", "s"), True), (("s", "b"), column != "score_not_b")):
        path = tmp_path / "p.root"
        with uproot.recreate(path) as file:
            columns = {column: expit(Z), "label": BINARY}
            file["label_classes"] = json.dumps(names)
            file.mktree("tree", {name: values.dtype for name, values in columns.items()}).extend(columns)
        if told:
            assert read_scores(path, column).classes == names
        else:  # label 1 is the class that the name denies
            with pytest.raises(DataError, match="may be larger"):
                read_scores(path, column)


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "binary", "large_binary", "dictionary"])
def test_labels_of_parquet_of_every_type_of_text(kind, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    label = arrow.array(np.array(NAMES)[LABEL].tolist())
    label = label.dictionary_encode() if kind == "dictionary" else label.cast(getattr(arrow, kind)())
    try:
        parquet.write_table(arrow.table({**scores(), "label": label}), tmp_path / "s.parquet")
    except arrow.ArrowNotImplementedError:
        pytest.skip(f"pyarrow {arrow.__version__} cannot write {kind}")
    np.testing.assert_array_equal(read_scores(tmp_path / "s.parquet").label, LABEL)


def test_labels_of_parquet_that_are_numbers_in_disguise_or_missing(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for label in (arrow.array(LABEL).dictionary_encode(), arrow.array(LABEL).cast(arrow.decimal128(21, 1))):
        parquet.write_table(arrow.table({**scores(), "label": label}), tmp_path / "s.parquet")
        np.testing.assert_array_equal(read_scores(tmp_path / "s.parquet").label, LABEL)
    label = arrow.array([None, *np.array(NAMES)[LABEL][1:].tolist()]).dictionary_encode()
    parquet.write_table(arrow.table({**scores(), "label": label}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="the column 'label' has 1 missing values"):
        read_scores(tmp_path / "s.parquet")


# --- mistakes ---

BROKEN = SCORES.copy()
BROKEN[7] *= 0.9
MISSING = SCORES.copy()
MISSING[5, 1] = np.nan
EMPTY = {name: values[:0] for name, values in {**scores(), **flags()}.items()}
MISTAKES = {
    "no column": ({**scores(), **flags()}, {"scores": "prob_*"}, r"no column fits prob_\*; .*'score_QCD'"),
    "a name that is nearly right": ({**scores(), **flags()}, {"scores": "score_QDC"}, "nearest are 'score_QCD'"),
    "sums": (
        {**scores(table=BROKEN), **flags()},
        {},
        r"of 1 of 240 jets are none, the first \(jet 7\).* sum to 0\.9.*--kind logits",
    ),
    "logits": ({**scores(table=LOGITS), **flags()}, {}, "that sum to 1 over the classes; if they are logits, say so"),
    "NaN": ({**scores(table=MISSING), **flags()}, {}, "score_Tbqq is nan at jet 5; expected finite numbers"),
    "NaN in logits": ({**scores("logit_", MISSING), **flags()}, {"scores": "logit_*"}, "logit_Tbqq is nan at jet 5"),
    "infinite": ({**scores(table=SCORES * np.inf), **flags()}, {"kind": "logits"}, "score_QCD is inf at jet 0"),
    "probabilities called logits": ({**scores("logit_"), **flags()}, {"scores": "logit_*"}, "look|as probabilities do"),
    "no labels": (
        {**scores(), "mass": LOGITS[:, 0]},
        {},
        r"no labels, neither numbers .* nor flags .*--label\): there is mass",
    ),
    "no such label": ({**scores(), **flags()}, {"label": "label_QDC"}, "no column 'label_QDC' of labels; the nearest"),
    "classes without scores": (
        {**scores(names=NAMES[:2], table=SCORES[:, :2] / SCORES[:, :2].sum(1, keepdims=True)), **flags()},
        {},
        r"80 of 240 jets are of classes without a score, the first of 'Wqq' \(by the flags label_QCD",
    ),
    "other names of classes": (
        {**scores(names=("q", "t", "w")), **flags()},
        {},
        "240 of 240 jets .* there is 'q', 't'",
    ),
    "numbers beyond": (
        {**scores(), "label": LABEL + 1},
        {},
        "label is 1 to 3; expected 0 to 2, as there are the classes QCD",
    ),
    "no whole numbers": ({**scores(), "label": LABEL + 0.5}, {}, "'label' holds no whole numbers"),
    "NaN among labels": (
        {**scores(), "label": np.where(LABEL == 2, np.nan, LABEL)},
        {},
        "'label' holds no whole numbers",
    ),
    "no flag": (
        {**scores(), **flags(label=np.where(LABEL == 2, 9, LABEL))},
        {},
        "entry 2 has the labels none .80 such",
    ),
    "one flag": ({**scores(), "is_QCD": LABEL == 0}, {"label": "is_*"}, r"is_\* fits 1 columns of labels"),
    "no jets": (EMPTY, {}, "holds no jets"),
    "texts": ({"score_QCD": np.array(["a"] * 240), **flags()}, {}, "holds <U1; expected numbers"),
    "tables": ({"score_QCD": SCORES, **flags()}, {}, "'score_QCD' does not hold one value per jet"),
    "twice": (
        {**scores("a_score_"), **scores("b_score_"), **flags()},
        {"scores": ["a_score_*", "b_score_*"]},
        "expected different",
    ),
    "pT": ({**scores(), **flags(), "jet_pt": np.full(240, np.inf)}, {}, "jet_pt is not finite for 240 jets"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path):
    columns, options, message = MISTAKES[case]
    path = npz(tmp_path / "s.npz", columns)
    with pytest.raises(DataError, match=message):
        evaluate_scores(path, **options)


@pytest.mark.parametrize("suffix", [".h5", ".ntuple.root"])
def test_mistakes_of_files(tmp_path, write, suffix):
    path = write(suffix, {**scores(), "label": LABEL})
    with pytest.raises(
        DataError, match=r"label numbers classes whose order this file does not keep; .*'\[score_QCD, s"
    ):
        read_scores(path)
    named = [f"score_{name}" for name in NAMES]
    np.testing.assert_array_equal(read_scores(path, named).label, LABEL)
    with pytest.raises(DataError, match="no such file"):
        read_scores(tmp_path / "no.root")
    (tmp_path / "bad.root").write_text("no ROOT file")
    with pytest.raises(DataError, match="not a ROOT file"):
        read_scores(tmp_path / "bad.root")
    with uproot.recreate(tmp_path / "two.root") as file:
        for name in ("a", "b"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.ones(3, "f4")})
    with pytest.raises(
        DataError, match=r"two\.root: holds 'a' \(TTree\), 'b' \(TTree\); expected one tree, or one called"
    ):
        read_scores(tmp_path / "two.root")


def test_the_order_of_an_rntuple_is_kept_unless_it_is_that_of_the_alphabet(tmp_path, monkeypatch):
    """uproot sorts the columns as it writes them, and ROOT does not."""
    with uproot.recreate(tmp_path / "s.root") as file:
        file["tree"] = {**scores(), "label": LABEL}
    with open_columns(tmp_path / "s.root") as columns:
        assert not columns.ordered
    monkeypatch.setattr(uproot.behaviors.RNTuple.HasFields, "keys", lambda *_, **__: [*scores(), "label"])
    with open_columns(tmp_path / "s.root") as columns:
        assert columns.ordered
        assert columns.names == (*scores(), "label")


def test_lists_are_no_columns(jetclass_file):
    with open_columns(jetclass_file(n=3)) as columns:
        assert columns.read("jet_pt").shape == (3,)
        with pytest.raises(DataError, match="'part_px' does not hold one value per jet"):
            columns.read("part_px")


def test_tables_of_pandas(tmp_path):
    """Columns of a type lie in one array; their names are in a pickle, which is not run."""
    h5py, pickle = pytest.importorskip("h5py"), pytest.importorskip("pickle")
    columns = {**scores(), **{name: values.astype("float32") for name, values in flags().items()}}
    rows = np.zeros(240, [("index", "i8"), ("values_block_0", "f4", (6,))])
    rows["values_block_0"] = np.stack(list(columns.values()), axis=1)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        table = file.create_dataset("jets/table", data=rows)
        table.attrs["values_block_0_kind"] = np.void(pickle.dumps(list(columns), 0))
    np.testing.assert_allclose(read_scores(tmp_path / "s.h5").logits.exp(), SCORES, atol=1e-6)


# --- from the shell ---


def test_from_the_shell(tmp_path, capsys):
    path, out = npz(tmp_path / "s.npz", scores("score_label_"), flags()), tmp_path / "e.json"
    assert cli.main(["evaluate", str(path), "--scores", "score_*", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "score_* on 240 jets" in shown
    assert "macro_auc_ovo" in shown
    found = Evaluation.load(out)
    assert found.metrics == evaluate_scores(path).metrics
    assert found.meta["columns"] == [f"score_label_{name}" for name in NAMES]
    for name in ("roc", "confusion", "reliability"):
        assert (tmp_path / f"e_{name}.png").stat().st_size > 10_000
    assert cli.main(["evaluate", "--scores=score_*", str(path), "--multi-class", "ovr", "--label", "label_*"]) == 0
    assert "macro_auc_ovr" in capsys.readouterr().out
    words = ["evaluate", str(path), "--scores", "[score_label_QCD, score_label_Tbqq, score_label_Wqq]"]
    assert cli.main(words) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scores", "x_*"], "no column fits x_*"),
        (["--scores", "score_*", "--stability"], "--stability"),
        (["--scores", "score_*", "--kind", "odds"], "kind"),
        (["--scores", "score_*", "--background", "top"], "background is 'top', which is no class"),
        (["--scores", "score_*", "--out", "FILE"], "expected a name that ends in .json"),
    ],
)
def test_mistakes_from_the_shell(words, message, tmp_path, capsys):
    path = npz(tmp_path / "s.npz", scores(), flags())
    assert cli.main(["evaluate", str(path), *[str(path) if word == "FILE" else word for word in words]]) != 0
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_help_tells_of_both(capsys):
    for words, option in (([], "--rotated"), (["--scores", "x"], "--label")):
        with pytest.raises(SystemExit):
            cli.main(["evaluate", *words, "--help"])
        assert option in capsys.readouterr().out
