"""Modules of PyTorch: read as they compute, compared at rows, and refused where they are not one function of one point."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wdaverify import NetworkError, from_torch, load_network, robust_accuracy
from wdaverify.network.model import ReluNetwork


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + torch.relu(self.inner(x)))  # type: ignore[no-any-return]


class Squeezed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(1)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(27, 4),
    )


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (dense, (4,)),
    "residual": (Residual, (4,)),
    "convolutional": (convolutional, (2, 6, 6)),
    "softmax": (lambda: nn.Sequential(dense(), nn.Softmax(1)), (4,)),
    "log-softmax": (lambda: nn.Sequential(dense(), nn.LogSoftmax(1)), (4,)),
    "one logit": (lambda: nn.Sequential(nn.Linear(4, 1), Squeezed()), (4,)),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), (4,)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODULES)
def test_a_network_gives_what_its_module_gives(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module = make().to(dtype).eval()
    network = from_torch(module, torch.rand(3, *shape, dtype=dtype))
    assert "at the 3 rows given" in network.notices[-1]
    x = torch.randn(40, *shape, dtype=dtype)
    with torch.no_grad():
        outputs = module(x)
    close = 1e-5 if dtype is torch.float32 else 1e-9  # the epsilon of a batch normalisation is a float32 in ONNX
    logits = torch.from_numpy(network.forward(x.double().reshape(40, -1).numpy()))
    head = {"softmax": torch.softmax, "log-softmax": torch.log_softmax}.get(network.head or "")
    if head is not None:
        logits = head(logits, 1)
    if network.head == "sigmoid":
        logits = torch.sigmoid(logits)
    assert network.head == (name if name in ("softmax", "log-softmax", "sigmoid") else None)
    np.testing.assert_allclose(logits.reshape(outputs.shape), outputs.double(), atol=close, rtol=0)
    network.save(tmp_path / "net.onnx")
    again = load_network(tmp_path / "net.onnx")
    assert again.sha256 == network.sha256
    np.testing.assert_array_equal(
        again.forward(np.ones((1, network.n_inputs))), network.forward(np.ones((1, network.n_inputs)))
    )


def test_either_exporter_gives_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that has the exporter through TorchScript no more is answered by the other one."""
    torch.manual_seed(1)
    module = convolutional().eval()
    rows = torch.rand(2, 2, 6, 6)
    usual = from_torch(module, rows)
    export = torch.onnx.export

    @functools.wraps(export)
    def without(*args: object, dynamo: bool = True, **words: object) -> object:
        if not dynamo:
            raise NotImplementedError("removed")
        return export(*args, dynamo=True, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.onnx, "export", without)
    for count in (1, 2):
        other = from_torch(module, rows[:count])
        x = np.random.default_rng(0).normal(size=(30, 72))
        np.testing.assert_allclose(other.forward(x), usual.forward(x), atol=1e-6)
    monkeypatch.setattr("wdaverify.doors.torch_module.find_spec", lambda name: None)
    with pytest.raises(
        NetworkError, match=r"onnxscript, which is not installed; pip install 'wdaverify\[torch-export\]'"
    ):
        from_torch(module, rows)


def test_the_module_and_the_example_are_left_alone() -> None:
    module = convolutional().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rows = torch.rand(2, 2, 6, 6, requires_grad=True)
    from_torch(module, rows, name="mine")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part.training for part in module.modules())
    assert rows.grad is None


def test_nothing_of_the_callers_is_changed() -> None:
    """Not the example by a module that works in place, not the state of torch's random numbers."""
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)).eval()
    rows = torch.rand(5, 4) - 0.5
    before, state = rows.clone(), torch.get_rng_state()
    from_torch(module, rows)
    assert torch.equal(rows, before)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(NetworkError, match="weights that are not made yet"):
        from_torch(nn.Sequential(nn.LazyLinear(3)).eval(), rows)


def test_bytes_are_taken_as_the_module_takes_them() -> None:
    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x if x.is_floating_point() else x.float() / 255)  # type: ignore[no-any-return]

    torch.manual_seed(3)
    module = Bytes().eval()
    rows = (torch.rand(40, 2) * 255).byte()
    found = robust_accuracy(module, rows, module(rows).argmax(1), eps=0, support=(0, 255), jobs=None)
    assert found.clean == found.certified == 1


def test_an_array_is_as_good_as_a_tensor() -> None:
    module = dense().eval()
    rows = np.random.default_rng(0).uniform(size=(2, 4))
    assert from_torch(module, rows).sha256 == from_torch(module, torch.tensor(rows, dtype=torch.float32)).sha256


def test_where_torch_warns_the_module_has_to_be_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that fails for whatever reason says nothing against a module of which the trace has no doubt."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(torch.export, "export", fails)
    assert isinstance(from_torch(dense().eval(), np.ones((2, 4))), ReluNetwork)
    module = _Last(lambda last, x: last(x) if x.sum() > -1e9 else -last(x)).eval()
    with pytest.raises(NetworkError, match="Python decides by values"):
        from_torch(module, np.ones((2, 4)))


def test_a_path_by_shapes_alone_is_no_fault() -> None:
    class ByShape(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] > 1:
                x = x.view(x.size(0), -1)
            return self.last(x)  # type: ignore[no-any-return]

    assert isinstance(from_torch(ByShape().eval(), np.ones((2, 4))), ReluNetwork)


class _Last(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, torch.Tensor], object]) -> None:
        super().__init__()
        self.last, self._forward = nn.Linear(4, 3), forward

    def forward(self, x: torch.Tensor) -> object:
        return self._forward(self.last, x)


def silenced(last: nn.Module, x: torch.Tensor) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return last(x) if x.max() > 1 else -last(x)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda last, x: last(x) if x.sum() > 0 else -last(x), ["Python decides by values"]),
        (lambda last, x: last(x) - x.mean(0)[:3], ["differ by", "other rows"]),
        (lambda last, x: last(x / x.norm().item()), ["differ by", "numbers out of tensors"]),
        (lambda last, x: last(x.clamp(max=x.mean().item())), ["differ by"]),
        (lambda last, x: last(x) if len(x) != 1 else -last(x), ["differ by", "how many rows"]),
        (lambda last, x: last(x) / len(x), ["differ by"]),
        (
            lambda last, x: 1e-4 * (last(x) + torch.tensor(np.random.default_rng().normal(size=3)).float()),
            ["differ by"],
        ),
        (silenced, ["Python decides by values"]),
        (lambda last, x: last(x)[:, :, None].expand(-1, -1, 2), ["outputs of shape [5, 3, 2]"]),
        (lambda last, x: last(x) + torch.rand(len(x), 3), ["RandomUniform", "random"]),
        (lambda last, x: nn.functional.dropout(last(x), training=True), ["Dropout", "training mode"]),
        (lambda last, x: (last(x), x), ["of type tuple", "one tensor of scores"]),
        (lambda last, x: last(x).sum(), ["outputs of shape []"]),
        (lambda last, x: torch.cos(last(x)), ["Cos", "piecewise-linear"]),
        (lambda last, x: last(x) / 0, ["the divisor has a zero"]),
        (lambda last, x: last(x * 1e30) * 1e30, ["not finite"]),
        (lambda last, x: last(x[:, :3]), ["fails at the example of shape [5, 4]"]),
    ],
)
def test_what_is_no_function_of_one_point_is_refused(
    forward: Callable[[nn.Module, torch.Tensor], object], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(2)
    with pytest.raises(NetworkError) as refused:
        from_torch(_Last(forward).eval(), torch.rand(5, 4))
    said = str(refused.value)
    assert "\n" not in said
    for word in words:
        assert word in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("module", "example", "words"),
    [
        (dense().train(), np.ones((1, 4)), "training mode (the module itself and 3 more)"),
        (
            nn.Sequential(dense().eval(), nn.Dropout().train()).eval().append(nn.Dropout().train()),
            np.ones((1, 4)),
            "training mode (2)",
        ),
        (dense().eval(), np.ones(4), "rows [B, ...]"),
        (dense().eval(), np.ones((0, 4)), "rows [B, ...]"),
        (dense().eval(), torch.ones(2, 4, dtype=torch.float64), "fails at the example"),
        (dense().eval(), "rows", "example has type <U4"),
        (dense, np.ones((1, 4)), "a Module is accepted"),
        (torch.relu, np.ones((1, 4)), "a Module is accepted"),
    ],
)
def test_what_is_no_module_or_no_rows_is_refused(module: nn.Module, example: object, words: str) -> None:
    with pytest.raises(NetworkError) as refused:
        from_torch(module, example)
    assert words in str(refused.value)


def test_a_network_that_is_not_its_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong on the way: the numbers decide."""
    other = dense().eval()
    true = torch.onnx.export

    @functools.wraps(true)
    def wrong(module: nn.Module, *args: object, **words: object) -> object:
        return true(other, *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.onnx, "export", wrong)
    with pytest.raises(NetworkError, match="is not what was exported"):
        from_torch(dense().eval(), np.ones((1, 4)))


class _Svd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svd(x.reshape(-1, 2, 2))[1]


def test_a_failing_export_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """torch prints its graph to the process's standard output, beside Python's."""
    with pytest.raises(NetworkError, match="cannot be exported to ONNX: UnsupportedOperatorError"):
        from_torch(_Svd().eval(), torch.rand(3, 4))
    assert capfd.readouterr() == ("", "")


def test_a_softplus_that_jumps_is_refused() -> None:
    """ONNX has no threshold, and a row that shows it may be far from the example."""
    given = torch.zeros((1, 4))
    with pytest.raises(NetworkError, match=r"Softplus \(1\) with threshold 1, above which it jumps"):
        from_torch(nn.Sequential(nn.Linear(4, 3), nn.Softplus(threshold=1)).eval(), given)
    assert from_torch(nn.Sequential(nn.Linear(4, 3), nn.Softplus(beta=2)).eval(), given).curved == ("Softplus",)
