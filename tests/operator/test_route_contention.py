from whisper_operator.reconcile.route_conflicts import Routes
from whisper_operator.reconcile.store import Key

A, B, C = Key("n", "a"), Key("n", "b"), Key("n", "c")


def test_a_route_of_its_own_has_no_holder() -> None:
    routes = Routes()
    assert routes.ask(A, "1", {"x"}) == set()
    assert routes.ask(B, "2", {"y"}) == set()
    assert routes.holder(A) is None
    assert routes.holder(B) is None
    assert routes.holder(C) is None


def test_the_older_holds_it_whoever_comes_first() -> None:
    routes = Routes()
    routes.ask(B, "2", {"x"})
    assert routes.ask(A, "1", {"x"}) == {B}
    assert routes.holder(A) is None
    assert routes.holder(B) == A


def test_of_the_same_age_the_first_by_name_holds_it() -> None:
    routes = Routes()
    routes.ask(B, "1", {"x"})
    routes.ask(A, "1", {"x"})
    assert routes.holder(B) == A
    assert routes.holder(A) is None


def test_one_common_route_of_several_is_enough() -> None:
    routes = Routes()
    routes.ask(A, "1", {"x", "y"})
    routes.ask(B, "2", {"y", "z"})
    assert routes.holder(B) == A


def test_who_yields_itself_stands_in_nobodys_way() -> None:
    routes = Routes()
    routes.ask(B, "2", {"y", "z"})
    routes.ask(C, "3", {"z"})
    assert routes.holder(C) == B
    assert routes.ask(A, "1", {"x", "y"}) == {B, C}
    assert routes.holder(B) == A
    assert routes.holder(C) is None
    assert routes.ask(A, "", ()) == {B, C}
    assert routes.holder(C) == B


def test_who_lets_go_concerns_those_who_wait() -> None:
    routes = Routes()
    routes.ask(A, "1", {"x"})
    routes.ask(B, "2", {"x"})
    routes.ask(C, "3", {"x"})
    assert routes.ask(A, "", ()) == {B, C}
    assert routes.holder(B) is None
    assert routes.holder(C) == B
    assert routes.ask(B, "2", {"w"}) == {C}
    assert routes.holder(C) is None


def test_the_same_again_concerns_nobody() -> None:
    routes = Routes()
    routes.ask(A, "1", {"x"})
    routes.ask(B, "2", {"x"})
    assert routes.ask(A, "1", {"x"}) == set()
    assert routes.ask(C, "", ()) == set()


def test_made_again_it_is_the_younger() -> None:
    routes = Routes()
    routes.ask(A, "1", {"x"})
    routes.ask(B, "2", {"x"})
    assert routes.ask(A, "3", {"x"}) == {B}
    assert routes.holder(A) == B


def test_nothing_is_kept_of_who_asks_for_nothing() -> None:
    routes = Routes()
    routes.ask(A, "1", {"x"})
    routes.ask(A, "", ())
    assert not routes._asked
    assert not routes._by_route
