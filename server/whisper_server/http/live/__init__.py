"""The edge of live transcription: the WebSocket of `/v1/realtime`, and the short-lived keys that browsers connect with."""
