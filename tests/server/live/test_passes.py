"""When a pass is due, where a long window is cut, and how the text of a turn grows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from whisper_server.live.clear_words import n_clear_units, passes_needed
from whisper_server.live.passes import Pass, due_pass, is_too_long, max_tokens
from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.turn import Piece, Said, Turn
from whisper_server.live.window_cut import Cut, cut_of
from whisper_server.whisper.transcript import Options, Segment, TokenLogprob, WindowTranscript, Word

S = 16_000


def due(piece: Piece, arrived_s: float, speech_s: float, silent_s: float = 0.0) -> Pass | None:
    return due_pass(
        piece,
        arrived=int(arrived_s * S),
        speech_until=int(speech_s * S),
        silent_samples=int(silent_s * S),
        max_samples=30 * S,
    )


def heard(text: str, language: str = "en", words: tuple[Word, ...] = (), logprob: float = -0.1) -> WindowTranscript:
    segment = Segment(0, 0, 0.0, 1.0, text, (1,), 0.0, logprob, 1.0, 0.0, words)
    tokens = tuple(
        TokenLogprob(word, tuple(word.encode()), -0.5) for word in text.replace(" ", "| ").split("|") if word
    )
    return WindowTranscript(text, (segment,), tokens, language=language)


def turn_of(*pieces: Piece) -> Turn:
    turn = Turn("item_1", None, 0, Options(logprobs=True))
    turn.pieces.extend(pieces)
    return turn


def test_pass_waits_for_new_speech() -> None:
    assert due(Piece(0), 0.3, 0.3) is None
    assert due(Piece(0), 0.5, 0.5) == Pass(0, S // 2, is_final=False, is_cut=True)


def test_silence_is_not_worth_a_pass() -> None:
    assert due(Piece(0, heard_until=2 * S), 4.0, 1.9, 2.1) is None


def test_pause_is_worth_a_pass_however_little_is_new() -> None:
    assert due(Piece(0, heard_until=2 * S), 2.4, 2.1, 0.1) is None
    assert due(Piece(0, heard_until=2 * S), 2.4, 2.1, 0.3) is not None


def test_pass_over_a_piece_that_has_ended_is_final() -> None:
    assert due(Piece(S, 3 * S, 2 * S), 9.0, 9.0) == Pass(S, 3 * S, is_final=True)


def test_piece_that_no_window_holds_is_split() -> None:
    assert is_too_long(Piece(0), 31 * S, 30 * S)
    turn = turn_of(Piece(0, 40 * S, 39 * S))
    turn.split(turn.pieces[0], 20 * S)
    assert [(piece.start, piece.end, piece.speech_end) for piece in turn.pieces] == [
        (0, 20 * S, 20 * S),
        (20 * S, 40 * S, 39 * S),
    ]


def test_last_pass_settles_a_piece_if_it_heard_all_of_its_speech() -> None:
    piece = Piece(0, 3 * S, 2 * S, heard_until=int(2.2 * S), heard=heard(" Yes."))
    assert piece.is_settled
    piece.heard_until = S
    assert not piece.is_settled


def test_pass_that_needs_the_temperature_fallback_does_not_settle_a_piece() -> None:
    assert not Piece(0, 3 * S, 2 * S, heard_until=3 * S, heard=heard(" Yes.", logprob=-1.5)).is_settled


def test_deltas_of_a_turn_make_its_text_with_spaces_between_pieces() -> None:
    first, second = Piece(0, 2 * S, S), Piece(3 * S, 5 * S, 4 * S)
    turn = turn_of(first, second)
    deltas = [
        turn.add_pass(first, heard(" One two"), S, is_final=False, is_cut=True),
        turn.add_pass(first, heard(" One two."), 2 * S, is_final=True),
        turn.add_pass(second, heard("Three."), 5 * S, is_final=True),
    ]
    assert "".join(delta.text for delta in deltas) == turn.text == "One two. Three."
    assert "".join(one.token for one in turn.logprobs) == " One two.Three."
    assert (turn.languages, turn.is_done) == (["en"], False)


def test_mark_that_follows_the_text_before_has_no_space_and_begins_no_turn() -> None:
    pieces = [Piece(n * S, (n + 1) * S, (n + 1) * S) for n in range(4)]
    turn = turn_of(*pieces)
    texts = [", one", ", two.", ". .NET", "? Yes."]
    deltas = [
        turn.add_pass(piece, heard(text), piece.end or 0, is_final=True).text
        for piece, text in zip(pieces, texts, strict=True)
    ]
    assert "".join(deltas) == turn.text == "one, two.. .NET? Yes."
    assert "".join(one.token for one in turn.logprobs).startswith(" one, two")
    assert [one.text for one in turn.said] == texts


def test_words_need_passes_by_their_least_likely_token() -> None:
    tokens = [
        (" Ge", 0.9),
        ("orge", 0.4),
        (" ел", 0.6),
        ("к", 0.51),
        ("и.", 0.99),
        (" no", 0.2),
        ("!", 0.9),
        (" end", 0.69),
        (" of", 0.71),
        (" su", 0.91),
        ("re.", 0.95),
    ]
    logprobs = tuple(TokenLogprob(text, tuple(text.encode()), math.log(probability)) for text, probability in tokens)
    transcript = replace(heard("".join(text for text, _ in tokens)), logprobs=logprobs)
    assert passes_needed(transcript, is_cut=True) == (3, 2, 3, 2, 1, 1)
    assert passes_needed(transcript, is_cut=False) == (2, 1, 2, 1, 1, 1), "in a pause the words are whole"
    assert passes_needed(replace(heard(""), logprobs=()), is_cut=True) == ()


def test_words_need_passes_by_their_mean_where_there_are_only_words() -> None:
    words = tuple(
        Word(word, n, n + 0.5, probability)
        for n, (word, probability) in enumerate([("Uno,", 0.9), ("¿dos?", 0.69), ("tres", 0.79)])
    )
    transcript = replace(heard(" Uno, ¿dos? tres", "es", words), logprobs=())
    assert passes_needed(transcript, is_cut=True) == (1, 3, 2)
    characters = replace(heard("一二", "ja", (Word("一二", 0, 1, 0.5),)), logprobs=())
    assert passes_needed(characters, is_cut=True) == (3, 3)
    assert passes_needed(replace(heard(" One two"), logprobs=()), is_cut=True) == (), "nothing is known"


def test_unlikely_word_of_sound_that_is_cut_waits_for_a_third_pass() -> None:
    piece = Piece(0)
    turn = turn_of(piece)
    words = (Word("One", 0.0, 0.3, 0.75), Word("too", 0.3, 0.6, 0.4), Word("tree", 0.6, 0.9, 0.75))
    unlikely = replace(heard(" One too tree", words=words), logprobs=())
    said = [turn.add_pass(piece, unlikely, n * S // 2, is_final=False, is_cut=True).text for n in (1, 2, 3)]
    assert said == ["", "One too", ""], "after a pass without words two are enough; the last word is guessed"

    paused = Piece(0)
    turn = turn_of(paused)
    said = [turn.add_pass(paused, unlikely, n * S, is_final=False).text for n in (1, 2)]
    assert said == ["One", " too tree"], "in a pause the words are whole"


def test_window_slides_at_a_pause_and_keeps_its_place() -> None:
    words = tuple(Word(f"w{n}", n, n + (0.5 if n == 7 else 0.9), 1.0) for n in range(14))
    text = "".join(f" {word.word}" for word in words)
    piece = Piece(0)
    turn = turn_of(piece)
    turn.add_pass(piece, heard(text), 14 * S, is_final=False)
    again = heard(text, words=words)
    turn.add_pass(piece, again, 15 * S, is_final=False)
    turn.slide(piece, again, 15.0)
    assert (piece.start, turn.said) == (int(7.75 * S), [Said(0, " w0 w1 w2 w3 w4 w5 w6 w7", "en")])
    delta = turn.add_pass(piece, heard(" w8 w9 w10 w11 w12 w13 w14."), 16 * S, is_final=True)
    assert delta.text == " w14."
    assert turn.said[1] == Said(piece.start, " w8 w9 w10 w11 w12 w13 w14.", "en")


def test_pass_over_a_window_that_has_slid_does_not_settle_the_piece() -> None:
    words = tuple(Word(f"w{n}", n, n + (0.5 if n == 7 else 0.9), 1.0) for n in range(14))
    text = "".join(f" {word.word}" for word in words)
    piece = Piece(0)
    turn = turn_of(piece)
    deltas = [turn.add_pass(piece, heard(text), 14 * S, is_final=False)]
    again = heard(text, words=words)
    deltas.append(turn.add_pass(piece, again, 15 * S, is_final=False))
    turn.slide(piece, again, 15.0)
    piece.end, piece.speech_end = int(15.5 * S), 14 * S
    assert not piece.is_settled
    deltas.append(turn.add_pass(piece, heard(" w8 w9 w10 w11 w12 w13."), piece.end, is_final=True))
    assert "".join(delta.text for delta in deltas) == turn.text == f"{text.strip()}."


def test_words_that_end_well_before_the_window_are_sent_at_once() -> None:
    words = tuple(Word(f" w{n}", n, n + 0.9, 0.2 if n == 4 else 0.9) for n in range(6))
    text = "".join(word.word for word in words)
    turn = turn_of(Piece(S))
    unlikely = heard(text, words=tuple(replace(word, probability=0.75) for word in words))
    delta = turn.add_pass(turn.pieces[0], replace(unlikely, logprobs=()), int(4.5 * S), is_final=False, is_cut=True)
    assert (delta.text, delta.spoken_until) == ("w0 w1", S)
    assert n_clear_units(heard(text, words=words), 6.0) == 4, "the fifth word is unlikely"
    assert n_clear_units(heard(text, words=words), 7.0) == 6, "it is far from the end now"
    words = (*words[:2], replace(words[2], least_probability=0.0001), *words[3:])
    assert n_clear_units(heard(text, words=words), 9.0) == 2, "the third word is not in the sound"
    assert n_clear_units(heard(text), 9.0) == 0, "there are no times of words"
    assert (
        n_clear_units(heard("今日は", "ja", words=(Word("今日", 0.0, 0.5, 0.9), Word("は", 0.5, 0.8, 0.9))), 1.5) == 2
    )


def test_pass_that_loops_is_given_up_soon() -> None:
    piece = Piece(0)
    assert max_tokens(piece, Pass(0, S, is_final=False)) == 72
    piece.heard, piece.heard_until = replace(heard(" One two"), n_output_tokens=40), S
    assert max_tokens(piece, Pass(0, 2 * S, is_final=False)) == 120


def test_sentence_end_is_the_better_place_to_cut() -> None:
    words = [Word(f"w{n}{'.' if n == 5 else ''}", n, n + 0.9 - 0.1 * (n == 8), 1.0) for n in range(16)]
    assert cut_of(words, 16, 16.0) == Cut(6, 5.95)
    assert cut_of(words, 5, 16.0) is None


def test_buffer_holds_what_was_not_dropped() -> None:
    buffer = SampleBuffer()
    for number in range(100):
        buffer.append(np.full(1000, number, np.float32), 0.0)
        buffer.drop_before((number - 3) * 1000)
    assert (buffer.start, buffer.end) == (96_000, 100_000)
    assert buffer.n_bytes < 200_000
    assert buffer.between(98_500, 99_500).tolist() == [98.0] * 500 + [99.0] * 500
    assert buffer.between(0, 96_001).tolist() == [96.0]
    held = buffer.between(98_500, 99_500)
    before = held.tolist()
    for second in range(100, 200):
        buffer.append(np.full(1_000, float(second), np.float32), float(second))
        buffer.drop_before(buffer.end - 4_000)
    assert held.tolist() == before
