"""All settings of the server, read from the environment once; those of the model are also given to what fetches it."""

from whisper_server.settings.model import ModelSettings
from whisper_server.settings.server import MIB, Settings

__all__ = ["MIB", "ModelSettings", "Settings"]
