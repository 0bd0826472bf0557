"""The tree of clusters and the best pairs are those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment

from whisper_server.diarization.hierarchy import WardTree, best_pairs


def groups(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == one).tolist()) for one in np.unique(labels)}


@pytest.mark.parametrize("n", [2, 3, 17, 120])
def test_tree_and_its_cuts_are_those_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    points = (rng.normal(size=(n, 24)) + 3 * rng.integers(0, 2, (n, 1))).astype(np.float32)
    tree, theirs = WardTree.of(points), linkage(points.astype(np.float64), "ward")
    assert tree.heights == pytest.approx(theirs[:, 2], rel=1e-6)
    for n_clusters in {1, 2, max(1, n // 3), n}:
        assert groups(tree.cut_into(n_clusters)) == groups(fcluster(theirs, n_clusters, "maxclust"))
    for height in (0.0, float(np.median(tree.heights)) + 1e-3, float(tree.heights[-1]) + 1.0):
        assert groups(tree.cut_at(height)) == groups(fcluster(theirs, height, "distance"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 3), (3, 9), (6, 2), (20, 4)])
def test_pairs_have_the_greatest_sum(shape: tuple[int, int]) -> None:
    similarities = np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    rows, columns = best_pairs(similarities)
    their_rows, their_columns = linear_sum_assignment(-similarities)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(shape)
    assert similarities[rows, columns].sum() == pytest.approx(similarities[their_rows, their_columns].sum(), rel=1e-5)
