"""``python -m wdaverify``."""

from __future__ import annotations

from wdaverify.cli import main

if __name__ == "__main__":
    main()
