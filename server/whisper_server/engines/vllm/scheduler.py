"""vLLM's schedulers with whole texts. Runs in vLLM's engine process only."""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from whisper_server.engines.vllm.whole_texts import WholeTexts


class AsyncWholeTextScheduler(WholeTexts, AsyncScheduler):
    """For GPUs: the next step is prepared while one is computed."""


class WholeTextScheduler(WholeTexts, Scheduler):
    """For vLLM's CPU build, step by step."""
