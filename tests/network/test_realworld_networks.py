"""Every network of the outside collection: read and equal to onnxruntime, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from runtime import equal_to_onnxruntime

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_reader import load_network

# file -> inputs, outputs, ReLUs
COVERED = {
    "ACASXU_run2a_1_1_batch_2000.onnx": (5, 5, 300),
    "ACASXU_run2a_1_7_batch_2000.onnx": (5, 5, 300),
    "ACASXU_run2a_2_9_batch_2000.onnx": (5, 5, 300),
    "cartpole.onnx": (4, 2, 128),
    "cifar10_resnet_2b.onnx": (3072, 10, 6244),
    "gurobi_mnist_model.onnx": (784, 10, 100),
    "lipbab_iris_4-5-5-3_f32.onnx": (4, 3, 10),
    "lipbab_iris_4-5-5-3_f64.onnx": (4, 3, 10),
    "lipbab_sd_10-15-10-3_f32.onnx": (10, 3, 25),
    "lipbab_sd_10-15-10-3_f64.onnx": (10, 3, 25),
    "marabou_cifar10_small.onnx": (3072, 10, 2568),
    "marabou_conv_mp1.onnx": (192, 5, 928),
    "marabou_fc1.onnx": (2, 2, 75),
    "marabou_fc_2-2-3.onnx": (2, 3, 2),
    "marabou_linear2-3_bn1-linear3-1.onnx": (2, 1, 0),
    "marabou_mnist2x10.onnx": (784, 10, 20),
    "mipverify_conv6x6.onnx": (36, 3, 76),
    "mnist-net_256x2.onnx": (784, 10, 512),
    "nv_mnist_784-30-20-10.onnx": (784, 10, 50),
    "nv_spiky_1d.onnx": (1, 1, 13),
    "omlt_gemm.onnx": (784, 10, 150),
    "omlt_gemm_transB.onnx": (2, 1, 2),
    "omlt_keras_conv_7x7_relu.onnx": (49, 36, 36),
    "test_nano.onnx": (1, 1, 1),
    "test_small.onnx": (1, 1, 4),
    "test_tiny.onnx": (1, 1, 1),
    "vdp.onnx": (3, 3, 64),
    "verivital_Convnet_avgpool.onnx": (784, 10, 23328),
    "verivital_Convnet_maxpool.onnx": (784, 10, 40608),
    "wk17a_conv.onnx": (784, 10, 4804),
}

# file -> what the refusal names
REFUSED = {
    "marabou_oneInput_twoBranches.onnx": ("2 outputs", "'Y'", "'add1'", "--output-name"),
}

CURVED = {"eran_ffnnSIGMOID__Point_6x200.onnx": (784, 10, 1200)}


def test_both_lists_together_are_the_collection(realworld: Path) -> None:
    assert {path.name for path in (realworld / "networks").glob("*.onnx")} == set(COVERED) | set(REFUSED) | {*CURVED}


@pytest.mark.parametrize("name", COVERED)
def test_covered_networks_equal_onnxruntime(realworld: Path, name: str) -> None:
    path = realworld / "networks" / name
    net = load_network(path)
    assert (net.n_inputs, net.n_outputs, net.n_relus) == COVERED[name]
    equal_to_onnxruntime(path, net)


@pytest.mark.parametrize("name", CURVED)
def test_networks_of_curved_functions_equal_onnxruntime(realworld: Path, name: str) -> None:
    path = realworld / "networks" / name
    net = load_network(path)
    assert net.curved == ("Sigmoid",)
    assert (net.n_inputs, net.n_outputs, net.n_relus) == CURVED[name]
    equal_to_onnxruntime(path, net)


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_by_name(realworld: Path, name: str) -> None:
    with pytest.raises(NetworkError) as caught:
        load_network(realworld / "networks" / name)
    assert "\n" not in str(caught.value)
    for word in (name, *REFUSED[name]):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["Y", "add1"])
def test_of_two_outputs_one_is_named(realworld: Path, name: str) -> None:
    path = realworld / "networks" / "marabou_oneInput_twoBranches.onnx"
    net = load_network(path, output_name=name)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    points = np.random.default_rng(1).uniform(-3, 3, size=(40, net.n_inputs)).astype(np.float32)
    batch = [np.broadcast_to(point, source.shape) for point in points]  # of two, fixed
    want = [session.run([name], {source.name: both})[0][0] for both in batch]
    np.testing.assert_allclose(net.forward(points), want, atol=1e-5)


def test_instances_equal_onnxruntime(instances: Path) -> None:
    for path in sorted(instances.glob("*.onnx")):
        equal_to_onnxruntime(path, load_network(path))
