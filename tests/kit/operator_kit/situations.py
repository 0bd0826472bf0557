"""All situations in one list, for tests that hold in every situation."""

from __future__ import annotations

from collections.abc import Mapping

from operator_kit.situation import Situation
from operator_kit.situations_of_places import OF_PLACES
from operator_kit.situations_of_pods import OF_PODS
from operator_kit.situations_of_routes import OF_ROUTES

SITUATIONS: Mapping[str, Situation] = {**OF_PODS, **OF_PLACES, **OF_ROUTES}
