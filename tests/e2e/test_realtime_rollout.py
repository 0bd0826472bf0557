"""Realtime sessions by the Ingress while pods are replaced: the examples connect again, and no word is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster_kit.namespaces import fresh_namespace
from e2e_kit.ground import Ground
from e2e_kit.speakers import speaking
from e2e_kit.steady import Steady, seconds

N_SPEAKERS = int(os.environ.get("WHISPER_SPEAKERS", "2"))
"""`make soak` asks for 20."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def steady(operator: Ground) -> Iterator[Steady]:
    with fresh_namespace(operator.cluster) as namespace:
        steady = Steady(operator.cluster, namespace, origin=operator.origin)
        # Few cores would refuse some of 20 sessions: here they are late, but all of them are there when the pods go.
        steady.up({"replicas": 2, "access": {"realtime": {"maxSessions": 2 * N_SPEAKERS}}})
        yield steady


def test_a_rollout_loses_no_word_of_sessions_that_connect_again(
    steady: Steady, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    steady.settled()
    with speaking(steady.base_url, N_SPEAKERS, tmp_path) as speakers:
        steady.cluster.wait(
            lambda: all(one.n_written >= 2 for one in speakers), 120, "two sentences of all are written"
        )
        steady.change({"access": {"maxQueueSeconds": 301}})
        took_s = seconds(steady.settled)
        n_said = [len(one.said) for one in speakers]
        steady.cluster.wait(
            lambda: all(len(one.said) >= n + 2 for one, n in zip(speakers, n_said, strict=True)), 120, "two more of all"
        )
    words = [speaker.words() for speaker in speakers]
    n_words, n_lost = sum(len(one.matched) + len(one.lost) for one in words), sum(len(one.lost) for one in words)
    n_in_threes = sum(one.n_lost_in_threes for one in words)
    n_added, n_reconnects = sum(len(one.added) for one in words), sum(one.n_reconnects for one in speakers)
    figure(
        f"a rollout of {took_s:.0f} s under {N_SPEAKERS} realtime sessions: {n_reconnects} connected again,"
        f" {n_lost} of {n_words} words lost, {n_in_threes} of them in rows of three, {n_added} added"
    )
    assert n_reconnects >= N_SPEAKERS
    assert not [lost for speaker in speakers for lost in speaker.lost_words()]
    assert n_added <= n_words // 50
