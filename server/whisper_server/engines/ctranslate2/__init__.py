"""The CPU engine: CTranslate2 behind the Engine protocol. ctranslate2 is imported in this package only."""
