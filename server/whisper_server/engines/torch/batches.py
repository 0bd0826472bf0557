"""What is computed together: sizes of batches, who goes first, and prompts as rows of numbers. Knows no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_server.engines.torch.wire import DecodeTask, Place
from whisper_server.whisper.constants import N_MEL_FRAMES
from whisper_server.whisper.mel import padded_mel_frames

ENCODER_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
"""Windows encoded at once: one takes 6.0 ms on an H200, in batches of 4 to 16 each takes 5.1 ms. Requests over HTTP come a few
at a time, and a window that pads a batch costs as much as any other: with powers of two 9 windows would cost 16."""
ENCODER_FRAMES = (N_MEL_FRAMES // 2, N_MEL_FRAMES)
"""Mel frames of a window. Half a window is encoded in less than half the time, and its keys and values lie in the cross-attention cache
twice: attention over a repetition of the same keys and values is attention over them."""
MAX_LIVE_WINDOWS = 4 * ENCODER_SIZES[-1]
"""Passes of live sessions in the engine: one batch is encoded, the texts of those before it are decoded; more of them wait with newer sound.
200 sessions and 64 clients with files on an H200: words after 0.9 s (p50), without this limit after 1.3."""
PROMPT_SIZES = (1, 2, 4, 8, 16, 32)
"""Prompts that are read at once, as a CUDA graph: the CPU takes 4 to 6 ms to launch the 266 kernels, whatever the size, and
an H200 1 ms to compute them."""
PROMPT_LENGTHS = (4, 16, 96, 160, 256)
"""In tokens; longer ones than those of the task have text before: up to 64 tokens in a live session, or 120 of the sound that a pass hears
again, up to 223 in a file. The last length is the model's context."""
ROW_SIZES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
"""Rows of a step."""
LENGTHS = (64, 128, 256)
"""Positions of text that the attention of PyTorch's looks at in a step; the last length is the model's context."""
PREFIX_ROWS = 16
"""Steps of the first 1, 2, … 16 rows use PyTorch's attention, which shares one row among many multiprocessors; larger ones take the
rows that decode, wherever they are, by a kernel of ours (`row_attention`)."""
MAX_ROW_PROMPT = 16
"""Tokens of prompts that are read by the same kernel, without a copy of their rows' cross-attention cache."""
ALIGN_SIZES = (1, 4, 8)
"""Windows whose texts are aligned at once. The CPU takes 5 ms to launch the kernels of turbo's four layers, whatever the size, in
which it launches no step: as CUDA graphs."""
ALIGN_LENGTHS = (64, 128, 256)
"""Tokens of a text and what is around it; a limit of more tokens than openai/whisper's 224 needs one more length."""
MILLIONTHS = 1_000_000
N_FACTS = 6


@dataclass(frozen=True)
class Options:
    """What the device can do, and what was asked for."""

    row_attention: bool = False
    """Has `row_attention`'s kernel."""
    fp8_cache: bool = False
    """The cross-attention cache in FP8; needs `row_attention`."""


@dataclass(frozen=True)
class Prompt:
    """Of one text."""

    row: int
    tokens: tuple[int, ...]
    start: int = 0
    """Position of `<|startoftranscript|>`."""
    timestamps: bool = False
    max_out: int = 1
    temperature: float = 0.0

    @classmethod
    def of(cls, row: int, task: DecodeTask) -> Prompt:
        start = len(task.prompt) - task.n_task_tokens
        return cls(row, task.prompt, start, task.timestamps, task.max_new_tokens, task.temperature)

    def numbers(self, length: int) -> tuple[int, ...]:
        """N_FACTS (row, position of the last token, start, timestamps, max_out, temperature in MILLIONTHS), then the tokens,
        padded by the last one.
        """
        temperature = round(self.temperature * MILLIONTHS)
        facts = (self.row, len(self.tokens) - 1, self.start, int(self.timestamps), self.max_out, temperature)
        return (*facts, *self.tokens, *self.tokens[-1:] * (length - len(self.tokens)))


def up_to(sizes: Sequence[int], largest: int) -> tuple[int, ...]:
    """The sizes below `largest`, and `largest`."""
    return (*(size for size in sizes if size < largest), largest)


def fitting(sizes: Sequence[int], wanted: int) -> int:
    """The smallest size that is enough."""
    return sizes[bisect_left(sizes, wanted)]


def encoder_frames(n_samples: int, *, may_be_short: bool) -> int:
    """Mel frames that the encoder computes of a window; `may_be_short`: live, or without timestamps."""
    return fitting(ENCODER_FRAMES, padded_mel_frames(n_samples)) if may_be_short else N_MEL_FRAMES


def next_to_encode(waiting: Sequence[Place]) -> list[Place]:
    """One batch: live windows first, but at most half of it where files wait too."""
    live, files = [place for place in waiting if place.is_live], [place for place in waiting if not place.is_live]
    first = live[: ENCODER_SIZES[-1] // 2]
    return [*first, *files, *live[len(first) :]][: ENCODER_SIZES[-1]]
