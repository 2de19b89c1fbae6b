"""Networks of GELU and SiLU on digits and on MNIST: how far V closes, and what it costs.

    python benchmarks/smooth.py [--limit SECONDS] [--kept FOLDER] [NAME ...]

digits_16x16_{gelu,silu}    of models/, 20 samples, radius 0.05, to 1e-4
mnist_{gelu,silu}           784-30-20-10, trained here as models/train.py does on images 1,000 to 9,999 of WDAVERIFY_REALWORLD;
                            20 of the first 1,000, radius 0.02, to 1e-3

Order 1, l-inf, margin loss, one process. A line a network: the bracket, the multiplier, the questions and leaves, wall clock and
processor seconds. Networks that were trained are kept in FOLDER, and read from there the next time.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import time
from pathlib import Path

import numpy as np
from sources import MODELS, folder

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, load_network, load_samples, make_samples, verify
from wdaverify.problem import Samples

sys.path.insert(0, str(MODELS))
NAMES = ("digits_16x16_gelu", "digits_16x16_silu", "mnist_gelu", "mnist_silu")
_HELD_OUT = 1000
_EPOCHS, _RATE, _DECAY = 12, 3e-3, 1e-3


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """All 10,000 test images, pixels in 0..1 as float32, and their labels."""
    data = folder("WDAVERIFY_REALWORLD") / "data"
    images = gzip.decompress((data / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, -1, 16).reshape(-1, 784).astype(np.float32) / np.float32(255)
    return x, np.frombuffer(labels, np.uint8, -1, 8).astype(np.int64)


def trained(activation: str, kept: Path) -> Path:
    """The file of the MNIST network, trained where there is none yet."""
    path = kept / f"mnist_{activation}.onnx"
    if path.exists():
        return path
    import torch
    import train

    torch.set_num_threads(1)
    x, y = mnist()
    recipe = train.Recipe(train.digits, (30, 20), 0, 0, _EPOCHS, _RATE, _DECAY, 0.0, 4, activation)
    model = train.train(recipe, torch.from_numpy(x[_HELD_OUT:].copy()), torch.from_numpy(y[_HELD_OUT:].copy()))
    kept.mkdir(parents=True, exist_ok=True)
    train.write_onnx(model, f"mnist_{activation}", path, activation)
    held = torch.from_numpy(x[:_HELD_OUT].copy()), torch.from_numpy(y[:_HELD_OUT].copy())
    print(f"mnist_{activation}: trained on {len(x) - _HELD_OUT} images; on the others {train.summary(model, *held)}")
    return path


def question(name: str, kept: Path) -> tuple[WdroProblem, float]:
    """The problem of a name, and the gap that is asked for."""
    kind, activation = name.rsplit("_", 1)
    samples: Samples
    if kind == "mnist":
        x, y = mnist()
        path, radius, gap = trained(activation, kept), 0.02, 1e-3
        samples = make_samples(x[:20].astype(np.float64), y[:20], source="mnist")
    else:
        path, radius, gap = MODELS / f"{name}.onnx", 0.05, 1e-4
        samples = load_samples(MODELS / f"{kind}.npz", limit=20)
    network = load_network(path)
    box = Support.box(0.0, 1.0, network.n_inputs)
    return WdroProblem(network, samples, GroundCost(Norm.INF, 1), box, Loss.MARGIN, radius), gap


def main() -> None:
    """Ask about the networks named (default all)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default all)")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS", help="of wall clock, each (default 600)"
    )
    parser.add_argument("--kept", type=Path, default=Path("smooth_networks"), metavar="FOLDER")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown network {unknown[0]}; accepted: {', '.join(NAMES)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in arguments.names or NAMES:
        problem, gap = question(name, arguments.kept)
        begun, spent = time.monotonic(), time.process_time()
        found = verify(problem, gap=gap, time_limit=arguments.limit, device="cpu")
        wall, processor = time.monotonic() - begun, time.process_time() - spent
        statistics = found.statistics
        print(
            f"{name}: [{found.lower:.6f}, {found.upper:.6f}] wide {found.upper - found.lower:.2g} (asked {gap:g}, {found.reason.value}), "
            f"multiplier {found.multiplier:.4g}, {statistics.solves} questions, {statistics.nodes} leaves, "
            f"{wall:.0f} s, {processor:.0f} s of processor",
            flush=True,
        )


if __name__ == "__main__":
    main()
