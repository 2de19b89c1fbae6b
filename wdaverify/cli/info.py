"""``wdaverify info``."""

from __future__ import annotations

from wdaverify.cli.exits import DONE
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import as_json, network
from wdaverify.cli.terminal import say


@cli.command(context_settings=CONTEXT)
@network
@as_json
def info(network_path: str, as_json: bool) -> int:
    """Layers, ReLUs, parameters, shapes and hash of a network."""
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.report.as_json import dumps, network_json
    from wdaverify.report.summary import network_summary

    network = load_network(network_path)
    say(dumps(network_json(network)).rstrip("\n") if as_json else network_summary(network))
    return DONE
