"""Answers of the torch engine's process that arrive together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from whisper_server.engines.torch.pending_answers import ANSWERS_PER_ITERATION, PendingAnswers
from whisper_server.engines.torch.wire import Detected
from whisper_server.errors import Unavailable

N_ANSWERS = 4 * ANSWERS_PER_ITERATION + 1


def answers() -> tuple[Detected, ...]:
    return tuple(Detected(task_id, (0.0,)) for task_id in range(N_ANSWERS))


@pytest.mark.parametrize("messages", [[answers()], [[answer] for answer in answers()]], ids=["one", "many"])
async def test_event_loop_goes_on_between_answers_that_arrive_together(messages: Sequence[Sequence[Detected]]) -> None:
    pending = PendingAnswers()
    futures = [pending.expect(task_id) for task_id in range(N_ANSWERS)]
    for message in messages:
        pending.deliver(message)
    seen = [sum(future.done() for future in futures)]
    while seen[-1] < N_ANSWERS:
        await asyncio.sleep(0)
        seen.append(sum(future.done() for future in futures))
    assert max(now - before for before, now in itertools.pairwise(seen)) == ANSWERS_PER_ITERATION
    assert [future.result().task_id for future in futures] == list(range(N_ANSWERS))


async def test_answers_of_calls_that_have_ended_take_no_turn() -> None:
    pending = PendingAnswers()
    futures = [pending.expect(task_id) for task_id in range(N_ANSWERS)]
    for task_id in range(N_ANSWERS - 1):
        pending.forget(task_id)
    pending.deliver(answers())
    assert futures[-1].done()


async def test_dead_engine_fails_calls_without_an_answer_only() -> None:
    pending = PendingAnswers()
    futures = [pending.expect(task_id) for task_id in range(N_ANSWERS + 1)]
    pending.deliver(answers())
    pending.fail_all(Unavailable("The engine is dead."))
    assert [(await future).task_id for future in futures[:-1]] == list(range(N_ANSWERS))
    with pytest.raises(Unavailable):
        await futures[-1]
