"""The pipeline: samples to windows, windows to text, text to segments and words. Sees engines through their Protocol."""
