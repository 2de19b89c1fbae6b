"""What a file makes of its scores: labels, probabilities and maps lead back to the scores, against onnxruntime; what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_reader import load_network

onnxruntime.set_default_logger_severity(4)

ML = "ai.onnx.ml"
RNG = np.random.default_rng(5)
W, B, ONE = RNG.normal(size=(4, 3)).astype("f4"), RNG.normal(size=3).astype("f4"), RNG.normal(size=(4, 1)).astype("f4")
FLOAT, INT, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
CONSTANTS: dict[str, Any] = {
    "W": W,
    "B": B,
    "V": ONE,
    "unity": np.float32(1),
    "half": np.float32(0.5),
    "flat": np.array([-1], np.int64),
    "row": np.array([1, -1], np.int64),
    "classes": np.array([7, 5, 9], np.int32),
    "two": np.array([0, 1], np.int32),
    "turned": np.array([2, 0, 1], np.int64),
    "alike": np.array([0, 0, 1], np.int64),
    "parts": np.array([0.25, 0.5, 0.75], np.float32),
    "table": np.array([[7, 5, 9]], np.int64),
    "unities": np.ones(2, np.float32),
    "nothing": np.zeros(0, np.float32),
    "names": np.array(["ant", "bee", "cow"], object),
    "zero": np.array([0], np.int64),
}


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **given: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, f"n_{outputs[0]}", **given)


SCORES = [node("MatMul", ["x", "W"], ["m"]), node("Add", ["m", "B"], ["z"])]
LOGIT = [node("MatMul", ["x", "V"], ["z"])]
PROBABILITIES = [*SCORES, node("Softmax", ["z"], ["p"], axis=1)]
PAIR = [
    *LOGIT,
    node("Sigmoid", ["z"], ["p"]),
    node("Sub", ["unity", "p"], ["n"]),
    node("Concat", ["n", "p"], ["both"], axis=1),
]


def classifier(rows: Any, **given: Any) -> onnx.NodeProto:
    given = {"classlabels_ints": list(range(max(2, len(rows)))), **given}
    coefficients, intercepts = [float(v) for v in np.ravel(rows)], [0.25 * (-1.0) ** k for k in range(len(rows))]
    return node(
        "LinearClassifier", ["x"], ["label", "p"], domain=ML, coefficients=coefficients, intercepts=intercepts, **given
    )


def written(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: Mapping[str, int | None],
    opset: int = 17,
    constants: Mapping[str, Any] = CONSTANTS,
) -> Path:
    """Outputs by their types; None: not declared."""
    read = {name for part in nodes for name in part.input}
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in read]
    given = [
        onnx.ValueInfoProto(name=k) if t is None else helper.make_tensor_value_info(k, t, None)
        for k, t in outputs.items()
    ]
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info("x", FLOAT, ["N", 4])], given, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(ML, 1)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


NAMED = [
    node("ArgMax", ["p"], ["a"], axis=1),
    node("ArrayFeatureExtractor", ["classes", "a"], ["f"], domain=ML),
    node("Reshape", ["f", "flat"], ["r"]),
    node("Cast", ["r"], ["label"], to=INT),
]
ROWS = W.T.copy()
LABELLED: dict[str, tuple[list[onnx.NodeProto], dict[str, int | None], str | None]] = {
    "label and probabilities": ([*PROBABILITIES, *NAMED], {"label": INT, "p": FLOAT}, "softmax"),
    "through Identity": (
        [*SCORES, node("Softmax", ["z"], ["s"]), node("Identity", ["s"], ["p"]), *NAMED],
        {"label": INT, "p": FLOAT},
        "softmax",
    ),
    "label alone": ([*PROBABILITIES, *NAMED], {"label": INT}, "argmax"),
    "label and logits": ([*PROBABILITIES, *NAMED], {"label": INT, "z": FLOAT}, None),
    "logits and probabilities": (PROBABILITIES, {"z": FLOAT, "p": FLOAT}, None),
    "of the scores": ([*SCORES, node("ArgMax", ["z"], ["label"], axis=-1, keepdims=0)], {"label": INT}, "argmax"),
    "last of several": (
        [*SCORES, node("ArgMax", ["z"], ["label"], axis=1, select_last_index=1)],
        {"label": INT},
        "argmax",
    ),
    "LogSoftmax": (
        [*SCORES, node("LogSoftmax", ["z"], ["l"]), node("ArgMax", ["l"], ["label"], axis=1)],
        {"label": INT, "l": FLOAT},
        "log-softmax",
    ),
    "names by Gather": (
        [
            *SCORES,
            node("ArgMax", ["z"], ["a"], axis=1, keepdims=0),
            node("Gather", ["names", "a"], ["label"], axis=0),
        ],
        {"label": TEXT},
        "argmax",
    ),
    "shapes behind": (
        [
            *SCORES,
            node("Softmax", ["z"], ["s"]),
            node("Unsqueeze", ["s", "zero"], ["u"]),
            node("Flatten", ["u"], ["w"], axis=2),
            node("ArgMax", ["w"], ["label"], axis=1),
        ],
        {"label": INT},
        "argmax",
    ),
    "undeclared": (PROBABILITIES, {"p": None}, "softmax"),
    "two by Sigmoid": (
        [*PAIR, node("ArgMax", ["both"], ["label"], axis=1)],
        {"label": INT, "both": FLOAT},
        "sigmoid",
    ),
    "linear": ([classifier(ROWS)], {"label": INT, "p": FLOAT}, None),
    "linear, its label": ([classifier(ROWS)], {"label": INT}, "argmax"),
    "linear, softmax": ([classifier(ROWS, post_transform="SOFTMAX")], {"label": INT, "p": FLOAT}, "softmax"),
    "linear, each": ([classifier(ROWS, post_transform="LOGISTIC")], {"label": INT}, "argmax"),
    "linear, two": (
        [classifier(np.stack([-ROWS[0], ROWS[0]]), post_transform="LOGISTIC")],
        {"label": INT, "p": FLOAT},
        "sigmoid",
    ),
    "linear, one": ([classifier(ROWS[:1], post_transform="LOGISTIC")], {"label": INT, "p": FLOAT}, "sigmoid"),
    "linear, two scores": ([classifier(ROWS[:2])], {"label": INT, "p": FLOAT}, None),
    "linear, then Softmax": (
        [classifier(ROWS), node("Softmax", ["p"], ["s"], axis=1)],
        {"label": INT, "s": FLOAT},
        "softmax",
    ),
}
POINTS = RNG.normal(size=(40, 4)).astype("f4")


def run(path: Path) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [out.name for out in session.get_outputs()]
    rows = [session.run(None, {"x": point[None]}) for point in POINTS]
    return {name: np.array([np.ravel(row[k]) for row in rows]) for k, name in enumerate(names)}


@pytest.mark.parametrize("name", LABELLED)
def test_scores_decide_labels_and_probabilities(tmp_path: Path, name: str) -> None:
    nodes, outputs, head = LABELLED[name]
    path = written(tmp_path / "net.onnx", nodes, outputs)
    network, found = load_network(path), run(path)
    assert network.head == head
    one = network.two_classes() if network.n_outputs == 1 else network
    scores = one.forward(POINTS.astype(np.float64))
    if "label" in found:
        labels: list[Any] = [7, 5, 9] if "classes" in {i for n in nodes for i in n.input} else [0, 1, 2]
        labels = ["ant", "bee", "cow"] if "Gather" in name else labels
        assert [labels[k] for k in scores.argmax(axis=1)] == found["label"][:, 0].tolist()
        assert any("is what is verified" in notice or "are what is verified" in notice for notice in network.notices)
        assert any("has names" in notice for notice in network.notices) == (labels[0] != 0)
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax = exp / exp.sum(axis=1, keepdims=True)
    want = {"p": softmax, "both": softmax, "s": softmax, "l": np.log(softmax), "z": scores}
    want["p"] = scores if name in ("linear", "linear, two scores") else softmax
    for output in outputs.keys() & want.keys():
        np.testing.assert_allclose(found[output], want[output], atol=2e-6)
    if head is None:
        with pytest.raises(NetworkError, match="does not end"):
            load_network(path, logits=True)
    else:
        assert load_network(path, logits=True).head is None


def test_a_map_leads_back_to_its_probabilities(tmp_path: Path) -> None:
    """``[{class: probability}]``, a sequence of maps, which no tensor type declares; other names than the label's are refused."""

    def zipped(names: Sequence[int]) -> Path:
        maps = node("ZipMap", ["p"], ["maps"], domain=ML, classlabels_int64s=names)
        return written(tmp_path / "net.onnx", [*PROBABILITIES, maps, *NAMED], {"label": INT, "maps": None})

    network = load_network(zipped([7, 5, 9]))
    assert network.head == "softmax"
    [names] = [notice for notice in network.notices if "has names" in notice]
    np.testing.assert_allclose(network.forward(POINTS), POINTS @ W + B, atol=1e-5)
    assert "0 is '7', 1 is '5', 2 is '9'" in names
    for others in ([9, 5, 7], [0, 1, 2]):
        with pytest.raises(NetworkError, match="different names"):
            load_network(zipped(others))


@pytest.mark.parametrize("rows", [1, 2])
def test_two_classes_of_a_logistic_regression(tmp_path: Path, rows: int) -> None:
    """As scikit-learn's exporter writes it: scores -z and z, or z alone; probabilities 1 - p and p over their sum, in a map."""
    first = np.stack([-ROWS[0], ROWS[0]])[2 - rows :]
    nodes = [
        classifier(first, post_transform="LOGISTIC", classlabels_ints=[3, 8]),
        node("Normalizer", ["p"], ["q"], domain=ML, norm="L1"),
        node("ZipMap", ["q"], ["maps"], domain=ML, classlabels_int64s=[3, 8]),
    ]
    network = load_network(written(tmp_path / "net.onnx", nodes, {"label": INT, "maps": None}))
    assert (network.n_outputs, network.head) == (1, "sigmoid")
    found = run(written(tmp_path / "net.onnx", nodes[:2], {"label": INT, "q": FLOAT}))
    z = network.forward(POINTS.astype(np.float64))[:, 0]
    np.testing.assert_allclose(found["q"][:, 1], 1 / (1 + np.exp(-z)), atol=2e-6)
    assert (found["label"][:, 0] == np.where(z > 0, 8, 3)).all()


def fixed(path: Path, nodes: Sequence[onnx.NodeProto], output: str, opset: int) -> Path:
    """A file that takes two samples at once."""
    model = onnx.load(str(written(path, nodes, {output: None}, opset)))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    path.write_bytes(model.SerializeToString())
    return path


def test_behind_a_fixed_batch_samples_stay_apart(tmp_path: Path) -> None:
    soft, label = node("Softmax", ["z"], ["p"], axis=1), node("ArgMax", ["p"], ["label"], axis=1)
    path = fixed(tmp_path / "net.onnx", [*SCORES, soft, label, node("Cast", ["label"], ["c"], to=FLOAT)], "c", 13)
    assert load_network(path).head == "argmax"
    for nodes, opset in (
        ([soft, node("Reshape", ["p", "flat"], ["q"]), node("ArgMax", ["q"], ["y"], axis=0)], 13),
        ([soft, node("Flatten", ["p"], ["q"], axis=0), node("ArgMax", ["q"], ["y"], axis=1)], 13),
        ([soft, node("Unsqueeze", ["p", "zero"], ["q"]), node("ArgMax", ["q"], ["y"], axis=2)], 13),
        ([node("Softmax", ["z"], ["y"], axis=0)], 11),
        ([node("ArgMax", ["z"], ["y"], axis=0)], 13),
        ([node("ArgMax", ["z"], ["a"], axis=1), node("ArrayFeatureExtractor", ["classes", "a"], ["y"], domain=ML)], 13),
    ):
        with pytest.raises(NetworkError, match="2 samples of the fixed batch see each other"):
            load_network(fixed(tmp_path / "net.onnx", [*SCORES, *nodes], "y", opset))


@pytest.mark.parametrize("size", [1, 4])
def test_scalers_and_regressors(tmp_path: Path, size: int) -> None:
    scaler = node(
        "Scaler", ["x"], ["s"], domain=ML, offset=[0.5, 1.5, -2.0, 0.1][:size], scale=[3.0, 0.3, 1e-3, 7.0][:size]
    )
    linear = node(
        "LinearRegressor", ["s"], ["y"], domain=ML, coefficients=[float(v) for v in W.T.ravel()], intercepts=[1.0, 2.0, 3.0],
        targets=3,
    )  # fmt: skip
    for nodes, constants in (([scaler, linear], {"y": FLOAT}), ([scaler], {"s": FLOAT})):
        path = written(tmp_path / "net.onnx", nodes, constants)
        network, found = load_network(path), run(path)
        for got in (
            network.forward(POINTS),
            network.canonical.forward(POINTS.astype(float)),
            network.forward_float32(POINTS),
        ):
            np.testing.assert_allclose(got, next(iter(found.values())), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "width", "head"), [("z", 3, None), ("m", 3, None), ("p", 3, "softmax"), ("label", 3, "argmax")]
)
def test_any_tensor_is_picked_by_its_name(tmp_path: Path, name: str, width: int, head: str | None) -> None:
    features = [node("Relu", ["z"], ["h"]), node("MatMul", ["h", "W3"], ["other"])]
    constants = {**CONSTANTS, "W3": W[:3]}
    path = written(
        tmp_path / "n.onnx", [*PROBABILITIES, *NAMED, *features], {"p": FLOAT, "other": FLOAT}, 17, constants
    )
    with pytest.raises(
        NetworkError, match=r"2 outputs of 2 different tensors: 'p' \(from 'z'\), 'other'; .*--output-name"
    ):
        load_network(path)
    network = load_network(path, output_name=name)
    assert (network.n_outputs, network.head) == (width, head)
    assert load_network(path, output_name="other").n_relus == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", r"no node .* 'p'"),
        ("x", "no node|floating|a computed"),
        ("W", "no node"),
        ("", "no node"),
        (3, "name of a tensor"),
    ],
)
def test_a_name_of_no_computed_tensor_is_refused(tmp_path: Path, name: Any, words: str) -> None:
    path = written(tmp_path / "n.onnx", PROBABILITIES, {"p": FLOAT})
    with pytest.raises(NetworkError, match=words):
        load_network(path, output_name=name)


REFUSED: dict[str, tuple[list[onnx.NodeProto], dict[str, int | None], str]] = {
    "a label of nothing": ([node("ArgMax", [], ["label"])], {"label": INT}, "last operator"),
    "names of nothing": ([node("Gather", ["names"], ["label"])], {"label": TEXT}, "1 inputs|STRING"),
    "two tensors": ([*SCORES, node("Relu", ["z"], ["r"])], {"z": FLOAT, "r": FLOAT}, "2 different tensors"),
    "probabilities of probabilities": (
        [*PROBABILITIES, node("Softmax", ["p"], ["q"], axis=1)],
        {"q": FLOAT},
        "last operator|reads probabilities",
    ),
    "largest over samples": ([*SCORES, node("ArgMax", ["z"], ["label"], axis=0)], {"label": INT}, "class axis"),
    "softmax over samples": ([*SCORES, node("Softmax", ["z"], ["p"], axis=0)], {"p": FLOAT}, "class axis"),
    "softmax of one": ([*LOGIT, node("Softmax", ["z"], ["p"], axis=1)], {"p": FLOAT}, "constant"),
    "largest of one": ([*LOGIT, node("ArgMax", ["z"], ["label"], axis=1)], {"label": INT}, "two classes"),
    "a sigmoid of each": ([*SCORES, node("Sigmoid", ["z"], ["p"])], {"p": FLOAT}, "of 3 scores.*--output-name z"),
    "a label that is computed with": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Cast", ["a"], ["c"], to=FLOAT), node("Neg", ["c"], ["y"])],
        {"y": FLOAT},
        "last operator",
    ),
    "whole probabilities": ([*PROBABILITIES, node("Cast", ["p"], ["c"], to=INT)], {"c": INT}, "cast of probabilities"),
    "half less the probability": (
        [*PAIR[:2], node("Sub", ["half", "p"], ["n"]), node("Concat", ["n", "p"], ["both"], axis=1)],
        {"both": FLOAT},
        "1 - p and p",
    ),
    "a complement of scores": (
        [*LOGIT, node("Sub", ["unity", "z"], ["n"]), node("Concat", ["n", "z"], ["both"], axis=1),
         node("Softmax", ["both"], ["p"], axis=0)],
        {"p": FLOAT},
        "class axis|1 - p",
    ),
    "complements of two ones": (
        [*PAIR[:2], node("Sub", ["unities", "p"], ["n"]), node("Concat", ["n", "p"], ["both"], axis=1)],
        {"both": FLOAT},
        "1 - p and p",
    ),
    "complements of nothing": (
        [*PAIR[:2], node("Sub", ["nothing", "p"], ["n"]), node("Concat", ["n", "p"], ["both"], axis=1)],
        {"both": FLOAT},
        "1 - p and p",
    ),
    "a label as a truth": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Cast", ["a"], ["b"], to=9), node("Cast", ["b"], ["y"], to=INT)],
        {"y": INT},
        "cast of the label to BOOL",
    ),
    "a label in a byte": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Cast", ["a"], ["y"], to=TensorProto.UINT8)],
        {"y": TensorProto.UINT8},
        "cast of the label to UINT8",
    ),
    "parts of names": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Gather", ["parts", "a"], ["f"]), node("Cast", ["f"], ["y"], to=INT)],
        {"y": INT},
        "cast of the label to INT64",
    ),
    "names by names": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Gather", ["turned", "a"], ["t"]), node("Gather", ["names", "t"], ["y"])],
        {"y": TEXT},
        "by the number of the class",
    ),
    "names by a classifier's": (
        [classifier(ROWS, classlabels_ints=[2, 0, 1]), node("Gather", ["names", "label"], ["y"])],
        {"y": TEXT},
        "by the number of the class",
    ),
    "one name for two": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Gather", ["alike", "a"], ["y"])],
        {"y": INT},
        "one name",
    ),
    "a row of names": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("Gather", ["table", "a"], ["y"])],
        {"y": INT},
        "by the number of the class",
    ),
    "names of both kinds": (
        [classifier(ROWS, classlabels_strings=["a", "b", "c"])],
        {"label": INT},
        "names of 3 classes",
    ),
    "normalised scores": (
        [*SCORES, node("Normalizer", ["z"], ["q"], domain=ML, norm="L1"), node("ArgMax", ["q"], ["y"], axis=1)],
        {"y": INT},
        "Normalizer.*not accepted",
    ),
    "normalised by another norm": (
        [*PROBABILITIES, node("Normalizer", ["p"], ["q"], domain=ML, norm="L2"), node("ArgMax", ["q"], ["y"], axis=1)],
        {"y": INT},
        "norm L2 of probabilities",
    ),
    "too few names": (
        [*SCORES, node("ArgMax", ["z"], ["a"], axis=1), node("ArrayFeatureExtractor", ["two", "a"], ["label"], domain=ML)],
        {"label": INT},
        "list of 3 classes",
    ),
    "names of probabilities": (
        [*PROBABILITIES, node("Cast", ["p"], ["c"], to=INT),
         node("ArrayFeatureExtractor", ["classes", "c"], ["label"], domain=ML)],
        {"label": INT},
        "cast of probabilities",
    ),
    "a map of too few": (
        [*PROBABILITIES, node("ZipMap", ["p"], ["maps"], domain=ML, classlabels_int64s=[0, 1])],
        {"maps": None},
        "names of 3 classes",
    ),
    "one score": ([classifier(ROWS[:1])], {"p": FLOAT}, "one score"),
    "one score, softmax": ([classifier(ROWS[:1], post_transform="SOFTMAX")], {"p": FLOAT}, "one score"),
    "logistic each": ([classifier(ROWS, post_transform="LOGISTIC")], {"p": FLOAT}, "LOGISTIC of 3 scores"),
    "other transforms": ([classifier(ROWS, post_transform="PROBIT")], {"p": FLOAT}, "'PROBIT'"),
    "a classifier inside": ([classifier(ROWS), node("Relu", ["p"], ["y"])], {"y": FLOAT}, "last operator"),
    "coefficients": ([classifier(ROWS[:, :3])], {"p": FLOAT}, "9 coefficients .* 4 features"),
    "class names": ([classifier(ROWS, classlabels_ints=[1, 2])], {"label": INT}, "names of 3 classes"),
    "a scaler of three": ([node("Scaler", ["x"], ["y"], domain=ML, offset=[1.0] * 3, scale=[1.0])], {"y": FLOAT}, "offset of 3"),
    "a scaler without end": (
        [node("Scaler", ["x"], ["y"], domain=ML, offset=[float("inf")], scale=[1.0])], {"y": FLOAT}, "finite numbers",
    ),
    "transformed regression": (
        [node("LinearRegressor", ["x"], ["y"], domain=ML, coefficients=[1.0] * 4, post_transform="SOFTMAX")],
        {"y": FLOAT},
        "'SOFTMAX'; accepted are NONE",
    ),
    "a scaler's attribute": (
        [node("Scaler", ["x"], ["y"], domain=ML, offset=[1.0], scale=[1.0], width=3)], {"y": FLOAT}, "attribute 'width'",
    ),
    "a largest one's attribute": ([*SCORES, node("ArgMax", ["z"], ["a"], axis=1, top=1)], {"a": INT}, "attribute 'top'"),
    "integers": ([*SCORES, node("Cast", ["z"], ["y"], to=INT)], {"y": INT}, "cast of the activation"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_tails_are_refused(tmp_path: Path, name: str) -> None:
    nodes, outputs, words = REFUSED[name]
    with pytest.raises(NetworkError, match=words) as caught:
        load_network(written(tmp_path / "net.onnx", nodes, outputs))
    assert "accepted" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_below_opset_13_a_softmax_takes_all_that_follows(tmp_path: Path) -> None:
    nodes = [*SCORES, node("Softmax", ["z"], ["p"]), node("ArgMax", ["p"], ["label"], axis=1)]
    path = written(tmp_path / "net.onnx", nodes, {"label": INT}, 11)
    assert (load_network(path).forward(POINTS).argmax(axis=1) == run(path)["label"][:, 0]).all()


def test_an_output_of_two_axes_says_how_many_classes_it_is(tmp_path: Path) -> None:
    nodes = [*SCORES, node("Reshape", ["wide", "shape"], ["y"])]
    nodes[1] = node("Add", ["m", "B"], ["wide"])
    constants = {**CONSTANTS, "W": np.ones((4, 6), "f4"), "B": np.ones(6, "f4"), "shape": np.array([-1, 2, 3])}
    network = load_network(written(tmp_path / "net.onnx", nodes, {"y": FLOAT}, 17, constants))
    assert network.output_shape == (2, 3)
    assert any("shape [2, 3] is taken for 6 classes, in row-major order" in notice for notice in network.notices)
