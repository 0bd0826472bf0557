"""openai/whisper's own package as a program: it reads jobs and writes answers, a line of JSON each.

`python openai_whisper_program.py CHECKPOINT N_THREADS`, in the environment that `openai_whisper` makes. Of the project it
imports nothing. A job has `samples` (a .npy file of 16 kHz), `options` of `transcribe`, and may have

- `mel`: where to write the log-mel features of the recording, padded to 30 s with silence;
- `padding`: "silence" pads features as silence looks in them; by itself `transcribe` pads them with 0.0, which is louder;
- `other_tokens`: another program's tokens of the first window; the answer has how much likelier the first token that
  differs is to this model.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_RENAMED = (
    ("encoder.layers.", "encoder.blocks."),
    ("decoder.layers.", "decoder.blocks."),
    (".self_attn_layer_norm.", ".attn_ln."),
    (".encoder_attn_layer_norm.", ".cross_attn_ln."),
    (".final_layer_norm.", ".mlp_ln."),
    (".self_attn.", ".attn."),
    (".encoder_attn.", ".cross_attn."),
    (".q_proj.", ".query."),
    (".k_proj.", ".key."),
    (".v_proj.", ".value."),
    (".out_proj.", ".out."),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("decoder.layer_norm.", "decoder.ln."),
    ("decoder.embed_tokens.", "decoder.token_embedding."),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
)
"""Hugging Face's names of weights → openai/whisper's (the other way round: transformers' conversion script)."""


def _load(checkpoint: Path) -> Any:
    whisper: Any = importlib.import_module("whisper")
    load_file: Any = importlib.import_module("safetensors.torch").load_file

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    generation = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    dimensions = whisper.model.ModelDimensions(
        n_mels=config["num_mel_bins"],
        n_audio_ctx=config["max_source_positions"],
        n_audio_state=config["d_model"],
        n_audio_head=config["encoder_attention_heads"],
        n_audio_layer=config["encoder_layers"],
        n_vocab=config["vocab_size"],
        n_text_ctx=config["max_target_positions"],
        n_text_state=config["d_model"],
        n_text_head=config["decoder_attention_heads"],
        n_text_layer=config["decoder_layers"],
    )
    model = whisper.model.Whisper(dimensions)
    weights = {}
    for name, tensor in load_file(str(checkpoint / "model.safetensors")).items():
        renamed = name.removeprefix("model.")
        for theirs, ours in _RENAMED:
            renamed = renamed.replace(theirs, ours)
        weights[renamed] = tensor
    model.load_state_dict(weights)
    heads = model.alignment_heads.to_dense().zero_()
    for layer, head in generation["alignment_heads"]:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    _encode_once(model.encoder)
    return model


def _encode_once(encoder: Any) -> None:
    """Keep the last output: decoding at another temperature and aligning words encode the same features again."""
    forward = encoder.forward
    last: list[Any] = []

    def remembered(mel: Any) -> Any:
        if not (last and last[0].shape == mel.shape and bool((last[0] == mel).all())):
            last[:] = [mel, forward(mel)]
        return last[1]

    encoder.forward = remembered


class Observed:
    """What `transcribe` does while it runs: results of `decode`, one list per window, and alignments before clean-up."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.windows: list[list[Any]] = []
        self.alignments: list[list[dict[str, Any]]] = []

    @contextmanager
    def running(self, padding: str) -> Iterator[None]:
        """Observe what runs inside; `padding` is that of a job."""
        timing: Any = importlib.import_module("whisper.timing")
        transcribing: Any = sys.modules["whisper.transcribe"]  # `whisper.transcribe` is the function
        find_alignment, pad_or_trim = timing.find_alignment, transcribing.pad_or_trim
        decode = self._model.decode
        last_segment = None

        def observed_decode(segment: Any, options: Any) -> Any:
            nonlocal last_segment
            if segment is not last_segment:
                self.windows.append([])
                last_segment = segment
            self.windows[-1].append(decode(segment, options))
            return self.windows[-1][-1]

        def observed_alignment(*args: Any, **kwargs: Any) -> Any:
            words = find_alignment(*args, **kwargs)
            self.alignments.append([_word(word.word, word.start, word.end, word.probability) for word in words])
            return words

        def pad_with_silence(mel: Any, n_frames: int) -> Any:
            # `mel` is a slice of the recording's features, which go on with 30 s of silence.
            whole, first = mel._base, mel.storage_offset()  # noqa: SLF001 - what a view is of
            return whole[:, first : first + n_frames]

        self._model.decode = observed_decode
        timing.find_alignment = observed_alignment
        if padding == "silence":
            transcribing.pad_or_trim = pad_with_silence
        try:
            yield
        finally:
            self._model.decode = decode
            timing.find_alignment = find_alignment
            transcribing.pad_or_trim = pad_or_trim


def _answer(model: Any, job: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    samples = np.load(job["samples"])
    if "mel" in job:
        whisper: Any = importlib.import_module("whisper")
        np.save(job["mel"], whisper.log_mel_spectrogram(whisper.pad_or_trim(samples)).numpy())
    observed = Observed(model)
    begin_s = time.monotonic()
    with observed.running(job.get("padding", "")):
        result = model.transcribe(samples, fp16=False, verbose=None, **job["options"])
    answer = {
        "took_s": time.monotonic() - begin_s,
        "text": result["text"],
        "words": [
            _word(word["word"], word["start"], word["end"], word["probability"])
            for segment in result["segments"]
            for word in segment.get("words", ())
        ],
        "windows": [[_decoding(decoded) for decoded in window] for window in observed.windows],
        "alignments": observed.alignments,
    }
    if "other_tokens" in job:
        answer["difference"] = _difference(model, observed.windows[0][0], job["other_tokens"], job["options"])
    return answer


def _word(word: str, start_s: float, end_s: float, probability: float) -> dict[str, Any]:
    return {"word": word, "start_s": float(start_s), "end_s": float(end_s), "probability": float(probability)}


def _decoding(decoded: Any) -> dict[str, Any]:
    return {
        "tokens": list(decoded.tokens),
        "text": decoded.text,
        "avg_logprob": decoded.avg_logprob,
        "no_speech_prob": decoded.no_speech_prob,
        "compression_ratio": decoded.compression_ratio,
    }


def _difference(model: Any, decoded: Any, other: Sequence[int], options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where `other` leaves the tokens of `decoded`, and the two tokens' log-probabilities there, without token rules."""
    torch: Any = importlib.import_module("torch")
    tokenizer: Any = importlib.import_module("whisper.tokenizer").get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language=options["language"], task="transcribe"
    )
    mine, theirs = [*decoded.tokens, tokenizer.eot], [*other, tokenizer.eot]
    at = next((i for i, (one, two) in enumerate(zip(mine, theirs, strict=False)) if one != two), None)
    if at is None:
        return None
    sot = tokenizer.sot_sequence_including_notimestamps if options.get("without_timestamps") else tokenizer.sot_sequence
    with torch.no_grad():
        logits = model.logits(torch.tensor([[*sot, *mine[:at]]]), decoded.audio_features[None].float())[0, -1]
    logprobs = logits.float().log_softmax(dim=-1)
    return {
        "at": at,
        "before": tokenizer.decode_with_timestamps(mine[max(0, at - 6) : at]),
        "reference": tokenizer.decode_with_timestamps([mine[at]]),
        "other": tokenizer.decode_with_timestamps([theirs[at]]),
        "reference_logprob": float(logprobs[mine[at]]),
        "other_logprob": float(logprobs[theirs[at]]),
    }


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(int(sys.argv[2]))
    model = _load(Path(sys.argv[1]))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(model, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
