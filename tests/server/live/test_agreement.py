"""Which words two passes confirm, and that what was confirmed is a prefix of everything later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_server.live.agreement import Agreement
from whisper_server.live.text_units import end_of_prefix, joined, split_units


def passes(*texts: str, language: str = "en") -> list[str]:
    """What each pass confirms; the last is the final one."""
    agreement = Agreement()
    confirmed = [agreement.add(text, language).text for text in texts[:-1]]
    return [*confirmed, agreement.finish(texts[-1], language).text]


def test_first_pass_confirms_nothing() -> None:
    assert passes(" Hello there.", " Hello there.") == ["", " Hello there."]


def test_second_pass_confirms_the_words_that_both_heard() -> None:
    assert passes(" The train to", " The train to the city", " The train to the city leaves.") == [
        "",
        " The train to",
        " the city leaves.",
    ]


def test_word_that_was_cut_off_is_not_confirmed() -> None:
    assert passes(" See you to", " See you tomorrow at", " See you tomorrow at noon.")[1] == " See you"


def test_last_word_of_sound_that_is_cut_in_mid_speech_is_not_confirmed() -> None:
    agreement = Agreement()
    agreement.add(" numbers or we've", "en", is_cut=True)
    assert agreement.add(" numbers or we've held", "en", is_cut=True).text == " numbers or"
    assert agreement.add(" numbers or withheld and", "en", is_cut=True).text == ""
    assert agreement.finish(" numbers or withheld and so on.", "en").text == " withheld and so on."


def test_full_stop_where_the_sound_ended_is_not_confirmed() -> None:
    assert passes(" I went home.", " I went home and slept.", " I went home and slept.") == [
        "",
        " I went home",
        " and slept.",
    ]


def test_comma_follows_once_there_is_a_word_behind_it() -> None:
    found = passes(" First.", " First, we", " First, we eat", " First, we eat.")
    assert found == ["", " First", ", we", " eat."]


def test_case_does_not_keep_words_from_being_confirmed() -> None:
    assert passes(" the end", " The end of", " The end of it.")[1] == " The end"


def test_confirmed_words_stay_though_a_later_pass_hears_others() -> None:
    found = passes(" I want to go", " I want to go now", " I went to go now please", " I went to go now please.")
    assert "".join(found) == " I want to go now please."


def test_clear_words_are_confirmed_by_one_pass_without_the_last_mark() -> None:
    agreement = Agreement()
    assert agreement.add(" Good morning, everybody at", "en", n_clear=2).text == " Good morning"
    assert agreement.add(" Good evening everybody at home", "en", n_clear=3).text == " everybody at"
    assert agreement.finish(" Good evening, everybody at home.", "en").text == " home."


def test_likely_words_are_confirmed_by_one_pass_without_the_last_mark() -> None:
    agreement = Agreement()
    assert agreement.add(" Good morning, every", "en", is_cut=True, passes_needed=(1, 1, 1)).text == " Good morning"
    heard = agreement.add(" Good morning. Everybody at", "en", is_cut=True, passes_needed=(1, 1, 1, 2))
    assert heard.text == ". Everybody"
    assert agreement.add(" Good morning. Everybody at home", "en", passes_needed=(1, 1, 1, 1, 1)).text == " at home"


def test_likely_words_behind_one_that_needs_more_passes_wait() -> None:
    agreement = Agreement()
    assert agreement.add(" one two three four", "en", passes_needed=(1, 2, 1, 1)).text == " one"
    assert agreement.add(" one too three four", "en", passes_needed=(1, 2, 1, 1)).text == ""
    assert agreement.add(" one two three four", "en", passes_needed=(1, 1, 1, 2)).text == " two three"


def test_unlikely_word_is_confirmed_by_three_passes() -> None:
    agreement = Agreement()
    assert agreement.add(" press one to", "en", passes_needed=(1, 3, 2)).text == " press"
    assert agreement.add(" press one to", "en", passes_needed=(1, 3, 2)).text == ""
    assert agreement.add(" press one to", "en", passes_needed=(1, 3, 2)).text == " one to"


def test_word_that_stays_unlikely_delays_others_by_few_passes() -> None:
    agreement = Agreement()
    heard = [" one", " own and", " one and", " one and two"]
    assert [agreement.add(text, "en", passes_needed=(3, 2)).text for text in heard] == ["", "", "", " one and"]
    again = Agreement()
    assert [again.add(" one and", "en", passes_needed=(3, 2)).text for _ in range(2)] == ["", " one and"], (
        "two are enough"
    )
    assert agreement.add(" one and two", "en", passes_needed=(2, 2, 3)).text == "", "it waits again"


def test_clear_words_may_be_fewer_than_those_confirmed() -> None:
    agreement = Agreement()
    agreement.add(" one two three", "en")
    agreement.add(" one two three four", "en")
    assert agreement.add(" one two three five", "en", n_clear=1).text == ""


def test_repeated_words_are_counted() -> None:
    found = passes(" no no", " no no no", " no no no no.")
    assert "".join(found) == " no no no no."


def test_characters_are_compared_without_spaces_between_words() -> None:
    assert passes("今日は天", "今日は天気が", "今日は天気がいい。", language="ja") == ["", "今日は天", "気がいい。"]


def test_words_that_left_the_window_are_forgotten() -> None:
    agreement = Agreement()
    agreement.add(" one two three four", "en")
    agreement.add(" one two three four five", "en")
    assert agreement.cut(2) == " one two"
    assert agreement.add(" three four five six", "en").text == " five"


def test_end_of_the_prefix_is_found_by_edit_distance() -> None:
    assert end_of_prefix(["a", "b", "c"], ["a", "x", "c", "d"]) == 3
    assert end_of_prefix([], ["a"]) == 0
    assert end_of_prefix(["a", "b"], []) == 0
    assert end_of_prefix(["b", "c"], ["a", "b", "c", "d"]) == 3


words = st.lists(st.sampled_from(["a", "b", "the", "The", "end.", "no,", "«x»", "—", "¿qué", "1,5"]), max_size=8)
texts = st.lists(words.map(lambda chosen: "".join(f" {word}" for word in chosen)), min_size=1, max_size=6)


@given(texts, st.sampled_from(["en", "ja"]))
def test_units_of_a_text_make_the_text(some: list[str], language: str) -> None:
    for text in some:
        assert joined(split_units(text, language)) == text or not split_units(text, language)


@given(texts)
def test_confirmed_range_is_what_the_pass_said(some: list[str]) -> None:
    agreement = Agreement()
    for number, text in enumerate(some):
        confirmed = (agreement.finish if number == len(some) - 1 else agreement.add)(text, "en")
        assert text[confirmed.start : confirmed.end] == confirmed.text
