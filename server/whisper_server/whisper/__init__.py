"""What speech, audio, engines and API share: Whisper's constants, languages, tokenizer, mel, transcripts, the Protocol.

Imports nothing but the ground: errors and plain libraries.
"""
