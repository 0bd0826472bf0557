"""Sizes and token ids of a Whisper checkpoint. Frozen data, which also crosses to the engines' processes."""

from __future__ import annotations

from dataclasses import dataclass

from whisper_server.whisper.constants import N_AUDIO_POSITIONS


@dataclass(frozen=True)
class Vocabulary:
    """Token ids that Whisper's decoding rules name."""

    n_tokens: int
    endoftext: int
    notimestamps: int
    nospeech: int
    """The end token where the model has none: the probability then has no meaning."""
    suppressed: tuple[int, ...]
    """Never sampled."""
    suppressed_first: tuple[int, ...]
    """Not sampled as the first token of an output: an end or a blank."""
    languages: tuple[int, ...]
    startoftranscript: int

    @property
    def timestamp_begin(self) -> int:
        """Id of `<|0.00|>`; all higher ids are timestamps."""
        return self.notimestamps + 1


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a Whisper checkpoint, from its config.json."""

    width: int
    encoder_layers: int
    decoder_layers: int
    feed_forward: int
    n_tokens: int
    n_text_positions: int

    @property
    def n_parameters(self) -> int:
        """Of the large matrices; the rest is negligible in memory."""
        encoder = self.encoder_layers * (4 * self.width**2 + 2 * self.width * self.feed_forward)
        decoder = self.decoder_layers * (8 * self.width**2 + 2 * self.width * self.feed_forward)
        return encoder + decoder + self.n_tokens * self.width

    def cache_bytes(self, bytes_per_number: int, bytes_per_audio_number: int | None = None) -> int:
        """KV cache of one sequence: keys and values of the audio and of the text."""
        n_bytes = (
            N_AUDIO_POSITIONS * (bytes_per_audio_number or bytes_per_number) + self.n_text_positions * bytes_per_number
        )
        return 2 * self.decoder_layers * self.width * n_bytes

    def encoder_bytes(self, bytes_per_number: int) -> int:
        """Activations of the encoder for one window: features, attention's inputs, a feed-forward layer."""
        return N_AUDIO_POSITIONS * (6 * self.width + 2 * self.feed_forward) * bytes_per_number
