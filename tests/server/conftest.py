"""Cases that hypothesis makes up are the same in every run, and may take their time on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
