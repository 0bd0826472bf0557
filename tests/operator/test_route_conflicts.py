from whisper_operator.reconcile.route_conflicts import RouteIndex
from whisper_operator.reconcile.store import Key

A, B, C = Key("n", "a"), Key("n", "b"), Key("n", "c")


def test_a_route_of_its_own_has_no_holder() -> None:
    routes = RouteIndex()
    assert routes.replace(A, "1", {"x"}) == set()
    assert routes.replace(B, "2", {"y"}) == set()
    assert routes.owner_of(A) is None
    assert routes.owner_of(B) is None
    assert routes.owner_of(C) is None


def test_the_older_holds_it_whoever_comes_first() -> None:
    routes = RouteIndex()
    routes.replace(B, "2", {"x"})
    assert routes.replace(A, "1", {"x"}) == {B}
    assert routes.owner_of(A) is None
    assert routes.owner_of(B) == A


def test_of_the_same_age_the_first_by_name_holds_it() -> None:
    routes = RouteIndex()
    routes.replace(B, "1", {"x"})
    routes.replace(A, "1", {"x"})
    assert routes.owner_of(B) == A
    assert routes.owner_of(A) is None


def test_one_common_route_of_several_is_enough() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", {"x", "y"})
    routes.replace(B, "2", {"y", "z"})
    assert routes.owner_of(B) == A


def test_who_yields_itself_stands_in_nobodys_way() -> None:
    routes = RouteIndex()
    routes.replace(B, "2", {"y", "z"})
    routes.replace(C, "3", {"z"})
    assert routes.owner_of(C) == B
    assert routes.replace(A, "1", {"x", "y"}) == {B, C}
    assert routes.owner_of(B) == A
    assert routes.owner_of(C) is None
    assert routes.replace(A, "", ()) == {B, C}
    assert routes.owner_of(C) == B


def test_who_lets_go_concerns_those_who_wait() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", {"x"})
    routes.replace(B, "2", {"x"})
    routes.replace(C, "3", {"x"})
    assert routes.replace(A, "", ()) == {B, C}
    assert routes.owner_of(B) is None
    assert routes.owner_of(C) == B
    assert routes.replace(B, "2", {"w"}) == {C}
    assert routes.owner_of(C) is None


def test_the_same_again_concerns_nobody() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", {"x"})
    routes.replace(B, "2", {"x"})
    assert routes.replace(A, "1", {"x"}) == set()
    assert routes.replace(C, "", ()) == set()


def test_made_again_it_is_the_younger() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", {"x"})
    routes.replace(B, "2", {"x"})
    assert routes.replace(A, "3", {"x"}) == {B}
    assert routes.owner_of(A) == B


def test_nothing_is_kept_of_who_asks_for_nothing() -> None:
    routes = RouteIndex()
    routes.replace(A, "1", {"x"})
    routes.replace(A, "", ())
    assert not routes._wanted
    assert not routes._by_route
