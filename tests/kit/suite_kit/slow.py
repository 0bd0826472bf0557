"""How busy the machine is that tests run on, and how much they may cost it."""

from __future__ import annotations

import os

SLOW = float(os.environ.get("SLOW", "1"))
"""How many times longer what is bounded may take. `make test` sets it, because its two lanes load the machine."""
IN_SHORT = bool(os.environ.get("TEST_IN_SHORT"))
"""Whether it is `make test`, which has 40 CPU minutes for all: samples are small, and `make test-all` takes large ones."""
