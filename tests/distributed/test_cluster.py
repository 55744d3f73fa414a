"""Wherever Ray puts the workers, its own tasks find a CPU: otherwise it would wait for ever."""

from __future__ import annotations

from itertools import product

import pytest

from mask_detection.distributed import cluster
from mask_detection.distributed.cluster import WORKER_CPUS, worker_count, workers_that_fit
from mask_detection.utils.errors import MaskDetectionError


def placements(n_workers: int, sizes: tuple[int, ...]):
    """Every way to put workers on nodes that have room."""
    return (
        counts
        for counts in product(*(range(int(size / WORKER_CPUS) + 1) for size in sizes))
        if sum(counts) == n_workers
    )


@pytest.mark.parametrize("sizes", [(2,), (4,), (1, 1), (2, 2), (1, 1, 1), (3, 1), (2, 2, 2)])
@pytest.mark.parametrize("n_whole", [1, 2])
def test_whole_cpus_stay_free_however_the_workers_are_placed(sizes, n_whole):
    count = workers_that_fit(sum(sizes), len(sizes), n_whole)
    assert 0 <= count <= sum(sizes)
    for placed in placements(count, sizes):
        free = (size - WORKER_CPUS * n for size, n in zip(sizes, placed, strict=True))
        assert not count or sum(int(cpus) for cpus in free) >= n_whole


@pytest.mark.parametrize(
    ("cpus", "n_nodes", "n_whole", "count"), [(2, 1, 1, 2), (4, 2, 1, 4), (16, 1, 2, 16), (1, 1, 1, 0)]
)
def test_most_cores_get_a_worker(cpus, n_nodes, n_whole, count):
    assert workers_that_fit(cpus, n_nodes, n_whole) == count


def test_a_full_cluster_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(cluster.ray, "available_resources", lambda: {"CPU": 0.5})
    monkeypatch.setattr(cluster, "cpu_nodes", lambda: [{}])
    with pytest.raises(MaskDetectionError, match=r"0\.5 CPUs are free on 1 nodes, and 2 are needed"):
        worker_count("auto", resumes=False)
    with pytest.raises(MaskDetectionError, match="and 3 are needed"):
        worker_count("auto", resumes=True)


def test_this_machine_alone_gets_a_worker_a_core():
    assert worker_count(None, resumes=True) == cluster.core_count()
