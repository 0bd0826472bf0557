from whisper_operator.manifests import RouteKey
from whisper_operator.reconcile.route_conflicts import RouteIndex
from whisper_operator.reconcile.store import Key


def wants(*routes: str) -> set[RouteKey]:
    return {RouteKey(route) for route in routes}


A, B, C = Key("n", "a"), Key("n", "b"), Key("n", "c")


def test_unshared_route_has_no_other_owner() -> None:
    routes = RouteIndex()
    assert routes.replace(A, "1", wants("x")) == set()
    assert routes.replace(B, "2", wants("y")) == set()
    assert routes.owner_of(A) is None
    assert routes.owner_of(B) is None
    assert routes.owner_of(C) is None


def test_older_endpoint_owns_the_route_in_any_order() -> None:
    routes = RouteIndex()
    routes.replace(B, "2", wants("x"))
    assert routes.replace(A, "1", wants("x")) == {B}
    assert routes.owner_of(A) is None
    assert routes.owner_of(B) == A


def test_first_name_owns_the_route_at_the_same_age() -> None:
    routes = RouteIndex()
    routes.replace(B, "1", wants("x"))
    routes.replace(A, "1", wants("x"))
    assert routes.owner_of(B) == A
    assert routes.owner_of(A) is None


def test_one_common_route_of_several_is_a_conflict() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", wants("x", "y"))
    routes.replace(B, "2", wants("y", "z"))
    assert routes.owner_of(B) == A


def test_endpoint_that_lost_a_route_blocks_no_other() -> None:
    routes = RouteIndex()
    routes.replace(B, "2", wants("y", "z"))
    routes.replace(C, "3", wants("z"))
    assert routes.owner_of(C) == B
    assert routes.replace(A, "1", wants("x", "y")) == {B, C}
    assert routes.owner_of(B) == A
    assert routes.owner_of(C) is None
    assert routes.replace(A, "", ()) == {B, C}
    assert routes.owner_of(C) == B


def test_released_route_affects_waiting_endpoints() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", wants("x"))
    routes.replace(B, "2", wants("x"))
    routes.replace(C, "3", wants("x"))
    assert routes.replace(A, "", ()) == {B, C}
    assert routes.owner_of(B) is None
    assert routes.owner_of(C) == B
    assert routes.replace(B, "2", wants("w")) == {C}
    assert routes.owner_of(C) is None


def test_unchanged_routes_affect_no_endpoint() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", wants("x"))
    routes.replace(B, "2", wants("x"))
    assert routes.replace(A, "1", wants("x")) == set()
    assert routes.replace(C, "", ()) == set()


def test_recreated_endpoint_is_the_younger() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", wants("x"))
    routes.replace(B, "2", wants("x"))
    assert routes.replace(A, "3", wants("x")) == {B}
    assert routes.owner_of(A) == B


def test_endpoint_without_routes_uses_no_memory() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", wants("x"))
    routes.replace(A, "", ())
    assert not routes._wanted
    assert not routes._by_route


def test_route_at_all_listeners_is_in_the_way_of_one_at_a_single_listener() -> None:
    routes = RouteIndex()
    routes.replace(A, "2", {RouteKey("x", "https")})
    routes.replace(C, "3", {RouteKey("x", "http")})
    assert (routes.owner_of(A), routes.owner_of(C)) == (None, None)
    assert routes.replace(B, "1", {RouteKey("x")}) == {A, C}
    assert (routes.owner_of(A), routes.owner_of(B), routes.owner_of(C)) == (B, None, B)
    assert routes.replace(B, "4", {RouteKey("x", "", "443")}) == {A, C}
    assert (routes.owner_of(A), routes.owner_of(B), routes.owner_of(C)) == (None, None, None)
