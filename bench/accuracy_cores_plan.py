"""What `accuracy_cores` hears, in the order of what matters: which systems on which sets, a task per recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from real_kit.speech import LANGUAGES

SEEDS = (7, 8, 9)
N_PIECES = 5
UNPADDED = ", padded to 30 s"
FLOAT32 = ", float32"
NO_TIMES = ", without timestamps"
NO_CONTEXT = ", without previous text"
"""faster-whisper gives each window the text before it, unless it is batched; this server never does."""
CONTEXT = ", with previous text"
"""This server with `condition_on_previous_text`."""
REFERENCE = "openai/whisper"
CLIP_BATCH = 10
"""Clips of a task: each takes about a second."""

_OURS = ("ours json", "ours verbose_json")
_GREEDY, _BATCHED, _DEFAULT = "faster-whisper greedy", "faster-whisper batched", "faster-whisper default"
_MORE_OURS = ("ours srt", "ours chunking_strategy=auto")


class Plan(NamedTuple):
    """Systems on sets."""

    systems: Sequence[str]
    sets: Sequence[str]
    languages: Sequence[str] = LANGUAGES
    seeds: Sequence[int] = SEEDS


PLANS: Mapping[str, Plan] = {
    "long": Plan((*_OURS, *_MORE_OURS, _GREEDY, _BATCHED), ("long",)),
    "clips": Plan((*_OURS, _GREEDY), ("clips",)),
    "music": Plan((*_OURS, "ours chunking_strategy=auto", _GREEDY, _BATCHED), ("instrumental",), ("en",)),
    "padding": Plan((f"ours json{UNPADDED}", f"{_GREEDY}{NO_TIMES}"), ("long", "clips")),
    "context": Plan((*(f"{name}{CONTEXT}" for name in _OURS), f"{_GREEDY}{NO_CONTEXT}"), ("long",)),
    "float32": Plan(tuple(f"{name}{FLOAT32}" for name in (*_OURS, _GREEDY, _BATCHED)), ("long",), ("es", "it", "en")),
    "more clips": Plan((_BATCHED, "ours chunking_strategy=auto"), ("clips",)),
    "float32 clips": Plan((f"ours json{FLOAT32}", f"{_GREEDY}{FLOAT32}"), ("clips",), ("es", "en")),
    "harder": Plan((*_OURS, _GREEDY, _BATCHED), ("music", "quiet", "fast"), seeds=(7,)),
    "default": Plan((_DEFAULT,), ("long", "clips")),
    "reference": Plan((REFERENCE,), ("long", "clips")),
}


@dataclass(frozen=True)
class Task:
    """Some recordings of one set through one system."""

    system: str
    set: str
    language: str
    first: int
    """The seed of a long recording; the number of the first clip, or of the piece."""
    n: int
    """Clips; prompts of a long recording."""


def tasks(plans: Sequence[str], n_clips: int, n_prompts: int) -> Iterator[Task]:
    """All of these plans; recordings before systems, so that what is cut short is cut for all alike."""
    for plan in (PLANS[name] for name in plans):
        for which in plan.sets:
            for language, first, n in _parts(which, plan, n_clips, n_prompts):
                for system in plan.systems:
                    yield Task(system, which, language, first, n)


def _parts(which: str, plan: Plan, n_clips: int, n_prompts: int) -> Iterator[tuple[str, int, int]]:
    if which == "clips":
        for first in range(0, n_clips, CLIP_BATCH):
            yield from ((language, first, min(CLIP_BATCH, n_clips - first)) for language in plan.languages)
    elif which == "instrumental":
        yield from (("en", number, 1) for number in range(N_PIECES))
    else:
        yield from ((language, seed, n_prompts) for seed in plan.seeds for language in plan.languages)
