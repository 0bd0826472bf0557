"""A process beside a cluster that ends it when its owner is no more: pytest, killed in the middle, cannot do it itself.

python -m cluster_kit.keeper OWNER-PID OWNER-START-TICKS FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from cluster_kit.lifecycle import down
from cluster_kit.processes import Process, ended, opened


def keep(owner: Process, folder: Path) -> None:
    with opened(owner) as descriptor:
        if descriptor is not None:
            ended(descriptor, None)
    down(folder)


if __name__ == "__main__":
    keep(Process("owner", int(sys.argv[1]), int(sys.argv[2])), Path(sys.argv[3]))
