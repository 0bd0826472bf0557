"""The status of a WhisperEndpoint: conditions with reasons and messages, and Events for their changes.

Pure functions of an endpoint and its ClusterSnapshot. Each subject has its own module; `build` combines them.
"""

from whisper_operator.status.build import make_status
from whisper_operator.status.events import EventToRecord, events_between
from whisper_operator.status.reasons import REASONS

__all__ = ["REASONS", "EventToRecord", "events_between", "make_status"]
