"""What a WhisperEndpoint's status says: conditions, their reasons and messages, and Events for what changed.

Pure functions of what was snapshot. Each subject has a module of its own; `whole` puts them together.
"""

from whisper_operator.status.build import make_status
from whisper_operator.status.events import EventToRecord, events_between
from whisper_operator.status.reasons import REASONS

__all__ = ["REASONS", "EventToRecord", "events_between", "make_status"]
