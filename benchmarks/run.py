"""``python benchmarks/run.py --help``: the session in ``session.py``.

Spawned processes load the main module again, the baselines' among them; so this one holds nothing that takes time to import.
"""

import sys

if __name__ == "__main__":
    from session import main

    sys.exit(main())
