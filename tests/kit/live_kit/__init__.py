"""Speaks to a realtime session as fast as people do, through OpenAI's own client, and notes when words come back."""
