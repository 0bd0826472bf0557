"""Texts begin in bunches: a step that encodes costs more than one that only decodes, however many windows it has.

Only steps without new windows are replayed as one CUDA graph; all others run kernel by kernel, which keeps vLLM's
process busier than the GPU. Mixed into vLLM's schedulers by `scheduler`; knows neither torch nor vllm.
"""

from __future__ import annotations

from typing import Any

from whisper_server.whisper.constants import N_AUDIO_POSITIONS


class Bunches:
    """Mixed into a scheduler of vLLM's: holds new windows back for a step, unless there are enough for a whole bunch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._encoder_budget: int = self.max_num_encoder_input_tokens
        self._n_in_a_bunch = self._encoder_budget // N_AUDIO_POSITIONS
        self._has_just_begun = False

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """The next step."""
        self.max_num_encoder_input_tokens = self._encoder_budget if self._may_begin() else 0
        step = super().schedule(*args, **kwargs)  # type: ignore[misc]
        self._has_just_begun = bool(step.scheduled_encoder_inputs)
        return step

    def _may_begin(self) -> bool:
        """Where nothing is decoded there is nothing to wait for."""
        n_running, n_waiting = len(self.running), len(self.waiting)  # type: ignore[attr-defined]
        n_places = self.max_num_running_reqs - n_running  # type: ignore[attr-defined]
        return not (self._has_just_begun and n_running) or min(n_waiting, n_places) >= self._n_in_a_bunch
