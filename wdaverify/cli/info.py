"""``wdaverify info``."""

from __future__ import annotations

from typing import Any

from wdaverify.cli.exits import DONE
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import as_json, external_data, network, output_name
from wdaverify.cli.questions import network_of
from wdaverify.cli.terminal import say


@cli.command(context_settings=CONTEXT)
@network
@output_name
@external_data
@as_json
def info(network_path: str, as_json: bool, **options: Any) -> int:
    """Layers, ReLUs, parameters, shapes and hash of a network."""
    from wdaverify.report.as_json import dumps, network_json
    from wdaverify.report.summary import network_summary

    network = network_of(network_path, options)
    say(dumps(network_json(network)).rstrip("\n") if as_json else network_summary(network))
    return DONE
