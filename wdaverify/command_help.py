"""What the help of the command line shows besides the options: examples of every command, and file names for the shell."""

from __future__ import annotations

import click

EXAMPLES = {
    "verify": """
        wdaverify verify net.onnx data.npz --radius 0.05
        wdaverify verify net.onnx data.csv --label-column species --radius 0.1 --norm 1 --support 0 10
        wdaverify verify net.onnx data.npz --radius 0.05 --samples 20 --time-limit 60 --output result.json
        wdaverify verify net.onnx data.npz --radius 0.05 --certificate out.cert
        wdaverify verify net.onnx data.npz --radius 0.05 --run proven
        wdaverify verify net.onnx data.npz --eps 8/255 --loss zero-one
    """,
    "batch": """
        wdaverify batch jobs.toml
        wdaverify batch jobs.toml --run proven --output all.json --report all.html
        wdaverify batch jobs.toml --certificates proofs
    """,
    "distance": """
        wdaverify distance net.onnx data.npz --samples 10
        wdaverify distance net.onnx data.npz --norm 2 --support none --output distances.json
    """,
    "curve": """
        wdaverify curve net.onnx data.npz --max-radius 0.1 --csv curve.csv
        wdaverify curve net.onnx data.npz --max-radius 0.1 --loss zero-one --output curve.json
    """,
    "attack": """
        wdaverify attack net.onnx data.npz --radius 0.05
        wdaverify attack net.onnx data.npz --radius 0.05 --device cpu --output attack.json
    """,
    "compare": """
        wdaverify compare net.onnx data.npz --radius 0.05
        wdaverify compare net.onnx data.npz --radii 0.02,0.05,0.1 --report ladder.html
        wdaverify compare net.onnx data.npz --radius 0.05 --rungs crown,attacks
        wdaverify compare net.onnx data.npz --radius 0.05 --rungs=-lipsdp,-lp --time-limit 60 --output compare.json
    """,
    "lipschitz": """
        wdaverify lipschitz net.onnx
        wdaverify lipschitz net.onnx --norm 2 --support none --margins all
        wdaverify lipschitz net.onnx --around data.npz --within 0.1 --outputs 0,2-1
    """,
    "check": """
        wdaverify check net.onnx spec.vnnlib
        wdaverify check net.onnx spec.vnnlib.gz --time-limit 60 --output result.json
    """,
    "export": """
        wdaverify export net.onnx data.npz --radius 0.05 --samples 5 --to programs
        wdaverify export net.onnx data.npz --radius 0.05 --loss zero-one --to programs
        wdaverify export net.onnx data.npz --radius 0.05 --multiplier 100 --to programs
    """,
    "report": """
        wdaverify report result.json --output report.html
        wdaverify report verify.json curve.json --output report.html --image-shape 28 28
        wdaverify report all.json --output rows.html
        wdaverify report compare.json --format latex
        wdaverify report compare.json --output paper.html --figures pdf
    """,
    "recheck": """
        wdaverify recheck net.onnx data.npz out.cert
        wdaverify recheck net.onnx data.npz out.cert --radius 0.05 --output verdict.json
        wdaverify recheck net.onnx data.csv out.cert --label-column species --support 0 10 --samples 20
    """,
    "status": """
        wdaverify status proven
        wdaverify status proven --json
    """,
    "resume": """
        wdaverify resume proven
        wdaverify resume runs/digits
    """,
    "info": """
        wdaverify info net.onnx
        wdaverify info net.onnx data.npz
        wdaverify info net.onnx --json
    """,
}
"""Shown below the options of each command."""
FRACTIONS = "A number may be a fraction: 8/255 means the double nearest to it, and is shown as 0.03137254901960784."
"""Said by every command that takes numbers."""


class Commands(click.Group):
    """Commands with their examples, whose parameters that name files complete file names."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Register a command."""
        lines = [line.strip() for line in EXAMPLES.get(cmd.name or "", "").strip().splitlines()]
        if lines:
            cmd.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
        if any(parameter.type.name in ("finite", "side") for parameter in cmd.params):
            cmd.epilog = f"{FRACTIONS}\n\n{cmd.epilog or ''}"
        for parameter in cmd.params:
            if any(mark in str(parameter.metavar or "") for mark in ("FILE", "NET.", "DATA.", "JOBS.", "DIR")):
                parameter.type = click.Path(readable=False)
        super().add_command(cmd, name)
