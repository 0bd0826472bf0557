"""Which voices of different windows are the same speaker: Ward's clustering of voiceprints.

The thresholds were set on ten voices of `bench/diarization.py`'s first set (asterisk-prompt-*, fillets-ng, tuxpaint-stamps);
its second set of other voices tests them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_server.diarization.hierarchy import WardTree
from whisper_server.diarization.local_voices import WINDOW_HOP_SAMPLES, LocalVoices
from whisper_server.diarization.nets import WINDOW_SAMPLES, Voiceprints, unit

MAX_DISTANCE = 1.22
MAX_DISTANCE_GROWTH = 0.2
"""Clusters merge up to a Ward distance of 1.22 × n^0.2 for n voiceprints. Within one speaker the distance grows with n, as
neighbouring windows share their noise. 15 conversations of one to six voices, 30 s to 5 minutes: the right number in all of
them for 1.15 to 1.28; without growth in 13 at best."""
MIN_SURE_S = 1.0
"""Voiceprints of less speech are not clustered; their stretches are assigned to the clusters as all are."""
MIN_SPEAKER_S = 3.0
"""Clusters with less speech than that are no speakers of their own where there are others."""
MAX_CLUSTERED = 400
"""Voiceprints that are compared with each other, evenly taken (about 10 minutes of sound): as many as the thresholds hold for.
25 minutes by three of the tuning voices: 13.1 % and three voices; with all 1,152 voiceprints 34.6 % and five."""
_SHARE_OF_WINDOW = WINDOW_HOP_SAMPLES / WINDOW_SAMPLES
"""Each moment is in four windows."""


@dataclass(frozen=True)
class SpeakerCount:
    """What the request says about the number of speakers."""

    exact: int | None = None
    least: int = 1
    most: int | None = None


@dataclass(frozen=True)
class Speakers:
    """The speakers of a recording."""

    of_stretch: npt.NDArray[np.int64]
    """The speaker of each stretch, shape (n_stretches,)."""
    voiceprints: Voiceprints
    """One a speaker."""


def speakers_of(found: LocalVoices, count: SpeakerCount) -> Speakers:
    """Cluster the voiceprints of voices, then give each stretch of speech its nearest speaker."""
    prints, speech_s = found.voiceprints, found.speech_s
    if not len(prints):
        return Speakers(np.empty(0, np.int64), prints)
    sure = _sure(speech_s)
    # Each stands for those that were left out.
    weights_s = speech_s[sure] * (speech_s.sum() / max(speech_s[sure].sum(), 1e-9))
    centroids = _centroids(prints[sure], weights_s, clusters_of(prints[sure], weights_s, count))
    return Speakers((found.stretches.voiceprints @ centroids.T).argmax(axis=1).astype(np.int64), centroids)


def clusters_of(prints: Voiceprints, speech_s: npt.NDArray[np.float64], count: SpeakerCount) -> npt.NDArray[np.int64]:
    """A cluster's number for each voiceprint, shape (n,); −1 for those in a cluster that is too small."""
    n = len(prints)
    if n == 1:
        return np.zeros(1, np.int64)
    tree = WardTree.of(prints)
    labels = tree.cut_at(MAX_DISTANCE * n**MAX_DISTANCE_GROWTH)
    wanted = _wanted(_n_large(labels, speech_s), count)
    if wanted is None:
        return _without_small(labels, speech_s)
    return _cut_into(tree, speech_s, wanted)


def _wanted(n_found: int, count: SpeakerCount) -> int | None:
    """The number to cut into instead; None: the number found is allowed."""
    most = count.exact or count.most or n_found
    wanted = min(max(n_found, count.exact or count.least), most)
    return None if wanted == n_found else wanted


def _cut_into(tree: WardTree, speech_s: npt.NDArray[np.float64], wanted: int) -> npt.NDArray[np.int64]:
    """Cut the tree where it has `wanted` large clusters; if it never has, into that many of any size."""
    n = len(speech_s)
    for n_clusters in range(wanted, min(n, wanted + 20) + 1):
        labels = tree.cut_into(n_clusters)
        if _n_large(labels, speech_s) == wanted:
            return _without_small(labels, speech_s)
    return tree.cut_into(min(n, wanted))


def _large(labels: npt.NDArray[np.int64], speech_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The clusters with enough speech, at least the largest one."""
    totals_s = np.bincount(labels, speech_s) * _SHARE_OF_WINDOW
    large = np.flatnonzero(totals_s >= MIN_SPEAKER_S)
    return large if len(large) else np.array([int(totals_s.argmax())])


def _n_large(labels: npt.NDArray[np.int64], speech_s: npt.NDArray[np.float64]) -> int:
    return len(_large(labels, speech_s))


def _without_small(labels: npt.NDArray[np.int64], speech_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    numbers = np.full(int(labels.max()) + 1, -1, np.int64)
    large = _large(labels, speech_s)
    numbers[large] = np.arange(len(large))
    return numbers[labels]


def _sure(speech_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Indices of the voiceprints to cluster."""
    sure = np.flatnonzero(speech_s >= MIN_SURE_S)
    if len(sure) < 2:
        sure = np.arange(len(speech_s))
    step = -(-len(sure) // MAX_CLUSTERED)
    return sure[::step]


def _centroids(prints: Voiceprints, speech_s: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> Voiceprints:
    return unit(
        np.array([(prints * speech_s[:, None])[clusters == one].sum(axis=0) for one in range(int(clusters.max()) + 1)])
    )
