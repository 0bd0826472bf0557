"""From an uploaded file to samples: decoding in worker processes of our own.

Server's side: `pool`, `worker_process`, `cpu_time`, `memory_file`, `decoded_audio`, `limits`.
Worker's side: `worker`, `sandbox`, `seccomp`, `landlock`, `read_audio`, `audio_file`, `ogg_links`, `wav_parts`,
`wav_length`, `resample`, `upload_reader`, `sample_sink`.
Both use `messages`. This module imports nothing, so that a worker starts fast.
"""
