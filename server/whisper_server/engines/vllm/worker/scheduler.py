"""vLLM's schedulers with throttled prefills, live windows first, and final-only outputs.

vLLM imports this module by name (`scheduler_cls`), in every engine process: so it also starts the parent watchdog. The
mixins are in `scheduling` and `live_first`, which are tested without vLLM.
"""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from whisper_server.engines.vllm.worker.live_first import LiveFirst
from whisper_server.engines.vllm.worker.parent_watchdog import exit_with_parent
from whisper_server.engines.vllm.worker.scheduling import FinalOnlyOutputs, ThrottledPrefills

exit_with_parent()


class AsyncWhisperScheduler(FinalOnlyOutputs, LiveFirst, ThrottledPrefills, AsyncScheduler):
    """For GPUs: prepares the next step while one is computed."""


class WhisperScheduler(FinalOnlyOutputs, LiveFirst, ThrottledPrefills, Scheduler):
    """For vLLM's CPU build: one step after the other."""
