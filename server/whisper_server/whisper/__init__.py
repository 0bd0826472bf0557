"""Shared by speech, audio, engines and API: Whisper's constants, languages, tokenizer, mel, transcripts, Engine Protocol.

Imports only `errors` and libraries.
"""
