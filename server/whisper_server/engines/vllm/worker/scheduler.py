"""vLLM's schedulers with throttled prefills and final-only outputs.

vLLM imports this module by name (`scheduler_cls`), in every engine process: so it also starts the parent watchdog. The
mixins are in `scheduling`, which is tested without vLLM.
"""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from whisper_server.engines.vllm.worker.parent_watchdog import exit_with_parent
from whisper_server.engines.vllm.worker.scheduling import FinalOnlyOutputs, ThrottledPrefills

exit_with_parent()


class AsyncWhisperScheduler(FinalOnlyOutputs, ThrottledPrefills, AsyncScheduler):
    """For GPUs: prepares the next step while one is computed."""


class WhisperScheduler(FinalOnlyOutputs, ThrottledPrefills, Scheduler):
    """For vLLM's CPU build: one step after the other."""
