"""vLLM's schedulers with whole texts that begin in bunches. Runs in vLLM's engine process only.

vLLM imports this module by name (`scheduler_cls`): the one of ours that every engine process has.
"""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from whisper_server.engines.vllm.worker.parent_watchdog import end_with_parent
from whisper_server.engines.vllm.worker.scheduling import FinalOnlyOutputs, ThrottledPrefills

end_with_parent()


class AsyncWhisperScheduler(FinalOnlyOutputs, ThrottledPrefills, AsyncScheduler):
    """For GPUs: the next step is prepared while one is computed."""


class WhisperScheduler(FinalOnlyOutputs, ThrottledPrefills, Scheduler):
    """For vLLM's CPU build, step by step."""
