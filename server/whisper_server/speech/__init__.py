"""The pipeline: samples → windows → text → segments and words. Imports no engine, only their Protocol."""
