"""From an uploaded file to samples: decoding in worker processes of our own.

Parent's side: `memory_file`, `pool`, `worker_process`, `decoded_audio`, `reservation`, `limits`.
Worker's side: `worker`, `confinement`, `sample_sink`, `decode`, `recording`, `ogg_links`, `wav_length`,
`resample`, `upload_reader`.
Both speak `messages`. Nothing is imported here: a worker must start fast.
"""
