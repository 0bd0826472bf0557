"""`whisper-server transcribe FILES…`: transcripts of files here and now, without HTTP."""

from whisper_server.transcribe_files.command import add_arguments, run

__all__ = ["add_arguments", "run"]
