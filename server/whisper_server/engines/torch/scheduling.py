"""Continuous batching: which windows are encoded, which texts begin, and when a text is read back.

One thread drives the device. A window joins between two steps; the host reads which texts have ended a few steps
late, so that the device never waits for it. Knows nothing of processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from whisper_server.engines.gpu.pinned_memory import HostCopies
from whisper_server.engines.torch.aligning import Aligner, Paths
from whisper_server.engines.torch.batches import ENCODER_FRAMES, next_to_encode
from whisper_server.engines.torch.decoding import Decoding
from whisper_server.engines.torch.wire import (
    Aligned,
    AlignTask,
    Answer,
    DecodedTokens,
    DecodeTask,
    Detected,
    DetectTask,
    Place,
    Task,
    TaskFailed,
)

Features = Callable[[Sequence[Place]], torch.Tensor]
"""Log-mel features (window, band, frame) of windows in the shared memory."""

LAG_STEPS = 2
"""Steps that the host is behind the device."""
STEPS_BETWEEN_ALIGNMENTS = 16
"""While texts are decoded, fewer windows than `Aligner.max_windows` wait so many steps for company: one takes a quarter of the time of 8."""
MAX_STEPS_BETWEEN_ENCODINGS = 8
TYPICAL_TEXT_STEPS = 100
"""Tokens of 30 s of speech. Steps between two encodings are as many as keep the texts of all windows apart: encoded one after
the other without steps, 256 windows are then decoded in step and end at once, and the GPU waits for what comes next."""
NOT_A_NUMBER = "The engine computed no number for this recording. Try again; if it happens again, report it."


@dataclass
class _Text:
    """A text that is being decoded."""

    task: DecodeTask
    n_positions: int
    """At most so many tokens are in its row."""
    no_speech: torch.Tensor
    """Log-probability (1,), on the host as soon as the first step's progress is."""


@dataclass
class _Progress:
    """What a step left: which rows are done, and the texts that were being decoded."""

    done: HostCopies
    texts: dict[int, _Text] = field(default_factory=dict)


@dataclass
class _Leaving:
    """Results on their way: waiting for them at once would leave the device without work."""

    results: HostCopies | Paths
    answers: Callable[[Any], Iterable[Answer]]
    """Takes the results."""


class Scheduler:
    """Tasks in, answers out; `run_once` does a little of what waits."""

    def __init__(self, decoding: Decoding, aligner: Aligner, features: Features) -> None:
        self._decoding = decoding
        self._aligner = aligner
        self._features = features
        self._waiting: deque[Task] = deque()
        self._window_in_row: dict[int, int] = {}
        """Id of the window whose cross-attention cache a row holds."""
        self._texts: dict[int, _Text] = {}
        self._to_align: dict[int, DecodedTokens | None] = {}
        """Texts by task that are answered with their alignment, once they are decoded."""
        self._behind: deque[_Progress] = deque()
        self._leaving: list[_Leaving] = []
        self._n_encoded_last = 0
        self._n_steps_since_encoding = self._n_steps_since_alignment = 0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._texts or self._leaving)

    def add(self, task: Task) -> None:
        """A task for one of the next rounds."""
        self._waiting.append(task)

    def cancel(self, task_id: int) -> None:
        """Drop a task wherever it is; its row may be used again at once."""
        self._waiting = deque(task for task in self._waiting if task.task_id != task_id)
        self._to_align.pop(task_id, None)
        for row, text in list(self._texts.items()):
            if text.task.task_id == task_id:
                del self._texts[row]

    def run_once(self) -> list[Answer]:
        """Encode, begin, step, align: at most one batch of each. Returns what has been finished."""
        if self._waiting:
            self._encode()
            self._detect()
            self._begin()
            self._align()
        if self._texts:
            self._step()
        return list(self._read_back())

    def _encode(self) -> None:
        places: dict[int, Place] = {}
        for task in self._waiting:
            if self._window_in_row.get(task.place.slot) != task.place.window_id:
                places.setdefault(task.place.slot, task.place)
        batch = next_to_encode(list(places.values()))
        n_in_engine = len(self._waiting) + len(self._texts)
        n_between = min(MAX_STEPS_BETWEEN_ENCODINGS, self._n_encoded_last * TYPICAL_TEXT_STEPS / max(1, n_in_engine))
        if not batch or (self._texts and self._n_steps_since_encoding < n_between):
            return
        self._n_encoded_last = len(batch)
        self._n_steps_since_encoding = 0
        for n_frames in ENCODER_FRAMES:
            if part := [place for place in batch if place.n_mel_frames == n_frames]:
                self._decoding.encode([place.slot for place in part], self._features(part)[..., :n_frames])
        self._window_in_row.update((place.slot, place.window_id) for place in batch)

    def _take(self, kind: type[Task], limit: int) -> list[Task]:
        """Tasks of a kind whose window is encoded and whose row decodes nothing; they leave the queue."""
        taken: list[Task] = []
        rows: set[int] = set() if kind is AlignTask else set(self._texts)
        for task in self._waiting:
            row = task.place.slot
            is_encoded = self._window_in_row.get(row) == task.place.window_id
            if isinstance(task, kind) and is_encoded and row not in rows and len(taken) < limit:
                taken.append(task)
                rows.add(row)
        chosen = {task.task_id for task in taken}
        self._waiting = deque(task for task in self._waiting if task.task_id not in chosen)
        return taken

    def _detect(self) -> None:
        tasks = self._take(DetectTask, self._decoding.max_prompts)
        if not tasks:
            return

        def answers(copies: HostCopies) -> Iterator[Answer]:
            for task, row in zip(tasks, copies.wait()[0].tolist(), strict=True):
                yield Detected(task.task_id, tuple(row))

        self._leave(HostCopies(self._decoding.detect([task.place.slot for task in tasks])), answers)

    def _begin(self) -> None:
        tasks = [task for task in self._take(DecodeTask, self._decoding.max_prompts) if isinstance(task, DecodeTask)]
        if not tasks:
            return
        rows = [task.place.slot for task in tasks]
        (no_speech,) = HostCopies(self._decoding.begin(rows, tasks)).tensors
        for index, (row, task) in enumerate(zip(rows, tasks, strict=True)):
            self._texts[row] = _Text(task, len(task.prompt) + 1, no_speech[index : index + 1])
            if task.sot_sequence:
                self._to_align[task.task_id] = None
        self._note_progress()

    def _step(self) -> None:
        n_positions = max(text.n_positions for text in self._texts.values())
        sample = any(text.task.temperature > 0 for text in self._texts.values())
        self._decoding.step(self._texts, n_positions, sample=sample)
        for text in self._texts.values():
            text.n_positions += 1
        self._n_steps_since_encoding += 1
        self._n_steps_since_alignment += 1
        self._note_progress()

    def _note_progress(self) -> None:
        self._behind.append(_Progress(HostCopies(self._decoding.done), dict(self._texts)))

    def _read_back(self) -> Iterator[Answer]:
        """Answers of the texts that had ended LAG_STEPS steps ago and are there; of all, where nothing else is to do."""
        while self._behind and (len(self._behind) > LAG_STEPS or not self._decoding_goes_on()):
            progress = self._behind.popleft()
            done = progress.done.wait()[0].tolist()
            rows = [row for row, text in progress.texts.items() if done[row] and self._texts.get(row) is text]
            if rows:
                texts = [self._texts.pop(row) for row in rows]
                self._leave(self._decoding.texts(rows), partial(self._decoded, texts))
        leaving, self._leaving = self._leaving, []
        for one in leaving:  # not in turn: a text does not wait for the word times of another
            if one.results.are_there or not self._decoding_goes_on():
                yield from map(self._with_text, one.answers(one.results))
            else:
                self._leaving.append(one)

    def _leave(self, results: HostCopies | Paths, answers: Callable[[Any], Iterable[Answer]]) -> None:
        self._leaving.append(_Leaving(results, answers))

    def _decoding_goes_on(self) -> bool:
        return bool(self._texts) and self._decoding.is_ahead

    def _align(self) -> None:
        is_early = bool(self._texts) and self._n_steps_since_alignment < STEPS_BETWEEN_ALIGNMENTS
        if is_early and sum(isinstance(task, AlignTask) for task in self._waiting) < self._aligner.max_windows:
            return
        tasks = [task for task in self._take(AlignTask, self._aligner.max_windows) if isinstance(task, AlignTask)]
        if not tasks:
            return
        self._n_steps_since_alignment = 0
        self._leave(self._aligner.attend(tasks), partial(self._find_paths, tasks))

    def _find_paths(self, tasks: Sequence[AlignTask], attended: HostCopies) -> tuple[Answer, ...]:
        self._leave(self._aligner.paths(tasks, attended), Paths.wait)
        return ()

    def _decoded(self, texts: Sequence[_Text], copies: HostCopies) -> Iterator[Answer]:
        """The answers, but of texts that are aligned now."""
        counts, tokens, logprobs = copies.wait()
        for index, (text, count) in enumerate(zip(texts, counts.tolist(), strict=True)):
            task_id, of_tokens = text.task.task_id, tuple(logprobs[index, :count].tolist())
            if any(logprob != logprob for logprob in of_tokens):  # noqa: PLR0124 - NaN is not itself
                self._to_align.pop(task_id, None)
                yield TaskFailed(task_id, NOT_A_NUMBER)
                continue
            chosen = tuple(tokens[index, :count].tolist())
            decoded = DecodedTokens(task_id, chosen, of_tokens, text.no_speech.item())
            if task_id in self._to_align and (task := self._aligner.task_after(text.task, chosen)) is not None:
                self._to_align[task_id] = decoded
                self._waiting.append(task)
            else:
                self._to_align.pop(task_id, None)
                yield decoded

    def _with_text(self, answer: Answer) -> Answer:
        if not isinstance(answer, Aligned):
            return answer
        decoded = self._to_align.pop(answer.task_id, None)
        return answer if decoded is None else replace(decoded, aligned=answer)
