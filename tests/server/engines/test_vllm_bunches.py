"""Beginnings in bunches, over a double of vLLM's scheduler that begins what it may."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from whisper_server.engines.vllm.worker.scheduling import ThrottledPrefills
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

N_FULL_BATCH, N_PLACES = 4, 10


@dataclass
class SchedulerDouble:
    max_num_encoder_input_tokens: int = N_FULL_BATCH * N_AUDIO_POSITIONS + 1024
    max_num_running_reqs: int = N_PLACES
    waiting: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def schedule(self) -> Any:
        max_windows = self.max_num_encoder_input_tokens // N_AUDIO_POSITIONS
        begun = self.waiting[: min(max_windows, self.max_num_running_reqs - len(self.running))]
        del self.waiting[: len(begun)]
        self.running += begun
        return SimpleNamespace(scheduled_encoder_inputs={name: [0] for name in begun})


class Scheduler(ThrottledPrefills, SchedulerDouble):
    def n_prefilled(self, *arriving: str) -> int:
        self.waiting += arriving
        return len(self.schedule().scheduled_encoder_inputs)


def test_one_that_comes_while_nothing_is_decoded_begins_at_once() -> None:
    scheduler = Scheduler()
    for name in "abc":
        assert scheduler.n_prefilled(name) == 1
        scheduler.running.clear()


def test_those_that_come_after_a_beginning_wait_for_one_step() -> None:
    scheduler = Scheduler()
    assert scheduler.n_prefilled("a") == 1
    assert scheduler.n_prefilled("b") == 0
    assert scheduler.n_prefilled("c") == 2
    assert scheduler.n_prefilled() == 0
    assert scheduler.n_prefilled("d") == 1


def test_a_whole_bunch_does_not_wait() -> None:
    scheduler = Scheduler()
    assert scheduler.n_prefilled(*"abcdefgh") == N_FULL_BATCH
    assert scheduler.n_prefilled() == N_FULL_BATCH


def test_more_than_there_are_places_for_are_no_bunch() -> None:
    scheduler = Scheduler()
    scheduler.running = list("123456789")
    assert scheduler.n_prefilled(*"abcdef") == 1
    scheduler.running = list("1234567")
    assert scheduler.n_prefilled() == 0
    assert scheduler.n_prefilled() == 3
