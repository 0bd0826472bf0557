"""How much work is open, whose it is, and how much of it comes before a newcomer under the turns of `FairQueue`.

Pure arithmetic on amounts: windows at the engine, seconds of sound at the decoders.
"""

from __future__ import annotations

from collections.abc import Hashable


class Backlog:
    """Amounts of open work by owner and request."""

    def __init__(self) -> None:
        self._by_owner: dict[Hashable, dict[Hashable, float]] = {}
        self._totals: dict[Hashable, float] = {}
        self.total = 0.0

    def add(self, owner: Hashable, request: Hashable, amount: float) -> None:
        """Add to a request's open work; a negative amount takes away."""
        requests = self._by_owner.setdefault(owner, {})
        before = requests.get(request, 0.0)
        after = max(0.0, before + amount)
        if after:
            requests[request] = after
        else:
            requests.pop(request, None)
        if not requests:
            del self._by_owner[owner]
            self._totals.pop(owner, None)
        else:
            self._totals[owner] = self._totals.get(owner, 0.0) + after - before
        self.total = self.total + after - before if self._by_owner else 0.0

    def drop(self, owner: Hashable, request: Hashable) -> None:
        """Forget a request."""
        self.add(owner, request, -self._by_owner.get(owner, {}).get(request, 0.0))

    def before(self, owner: Hashable, amount: float) -> float:
        """What is served before the last unit of a new request of `owner` with this amount of work.

        The other requests of the owner take as many turns as the new one at most, and each other owner takes as many as
        this owner. So another's backlog counts only as far as it is no longer than the newcomer's own.
        """
        siblings = sum(min(open_amount, amount) for open_amount in self._by_owner.get(owner, {}).values())
        turns = amount + siblings
        others = sum(min(total, turns) for name, total in self._totals.items() if name != owner)
        return siblings + others
