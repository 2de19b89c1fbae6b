"""``wdaverify`` and ``python -m wdaverify``."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def main() -> None:
    """Run the command line. Ctrl-C while its modules are still being read ends the process with one line, too."""
    signal.signal(signal.SIGINT, _too_early)
    from wdaverify.cli import main as run

    run()


def _too_early(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"wdaverify: interrupted before there was an answer\n")
    os._exit(130)


if __name__ == "__main__":
    main()
