"""How busy the machine is that tests run on: bounds on time are for one that does little else."""

from __future__ import annotations

import os

SLOW = float(os.environ.get("SLOW", "1"))
"""How many times longer what is bounded may take. `make test` sets it, because its two lanes load the machine."""
