"""Live transcription: turns, passes over the turn under way, and the words on which passes agree.

Knows OpenAI's events (`api`) and speech through a Protocol; `http.live` has the WebSocket.
"""
