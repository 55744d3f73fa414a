"""Several sources at once: none loses its turn, one that is lost ends no other, and no thread is left."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from mask_detection.io import readers as module
from mask_detection.io.readers import LateSource, Readers
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.stand_in_sources import PATIENCE_S, Numbered
from tests.helpers.videos import FRAME_COUNT, Act, endless, shown, streaming


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_each_frame_of_files_comes_once_and_in_order():
    sources = [Numbered(name, n_frames=50) for name in "abc"]
    with Readers(sources) as readers:
        frames = [(frame.source, frame.index) for frame in readers]
    for name in "abc":
        assert [index for source, index in frames if source == name] == list(range(50))
    assert all(source.is_closed for source in sources)
    assert not readers.lost


def test_those_that_have_a_frame_take_turns():
    readers = Readers([Numbered("a", 6), Numbered("b", 6), Numbered("c", 6)])
    given = []
    with readers:
        for _ in range(9):
            with readers._changed:
                assert readers._changed.wait_for(lambda: all(reader.frames for reader in readers._readers), PATIENCE_S)
            given.append(next(readers).source)
    assert given == ["a", "b", "c"] * 3


def test_of_a_live_source_the_newest_frame_is_given():
    source = Numbered(n_frames=100, is_live=True)
    with Readers([source]) as readers:
        assert next(readers).index == 0
        source.go_on.set()
        assert source.all_came.wait(PATIENCE_S)
        assert [frame.index for frame in readers] == [99]


def test_a_source_that_is_lost_ends_no_other(caplog):
    lost, whole = Numbered("lost", 3, fault=MaskDetectionError("lost: is gone")), Numbered("whole", 40)
    with Readers([lost, whole]) as readers:
        frames = Counter(frame.source for frame in readers)
    assert frames == {"lost": 3, "whole": 40}
    assert readers.lost == [lost]
    assert [record.message for record in caplog.records] == ["error: lost: is gone"]


def test_the_only_source_that_is_lost_is_an_error_after_its_last_frame(caplog):
    seen = []
    with (
        Readers([Numbered(n_frames=3, fault=MaskDetectionError("gone"))]) as readers,
        pytest.raises(MaskDetectionError, match="gone"),
    ):
        seen.extend(readers)
    assert len(seen) == 3
    assert not caplog.records


def test_a_fault_of_our_own_is_not_hidden():
    sources = [Numbered("a", 2, fault=ZeroDivisionError()), Numbered("b", 2)]
    with Readers(sources) as readers, pytest.raises(ZeroDivisionError):
        list(readers)


def test_who_waits_for_a_frame_is_let_go():
    source = Numbered(n_frames=2, is_live=True)
    with Readers([source]) as readers:
        next(readers)
        waiting = threading.Thread(target=lambda: list(readers))
        waiting.start()
        readers.stop()
        waiting.join(PATIENCE_S)
        assert not waiting.is_alive()


@pytest.mark.parametrize("opens_late", [True, False])
def test_a_stream_that_stalls_does_not_hold_up_the_end(opens_late, monkeypatch):
    monkeypatch.setattr(module, "LAST_WAIT_S", 0.1)
    with streaming(Act(shown(), stalls=True)) as server:
        source = LateSource(server.address) if opens_late else module.open_source(server.address)
        with Readers([source]) as readers:
            next(readers)
            (reader,) = readers._readers
        server.is_over.set()
    reader.thread.join(PATIENCE_S)


def test_a_late_source_tells_how_it_is(video, tmp_path):
    with streaming(Act(endless(shown()))) as server:
        live, file, missing = LateSource(server.address), LateSource(str(video)), LateSource(str(tmp_path / "no.mp4"))
        assert (live.state.is_up, live.state.reason) == (False, "is not open yet")
        with Readers([live, file, missing]) as readers:
            seen: Counter[str] = Counter()
            while seen[live.name] < 2 or seen[file.name] < FRAME_COUNT:
                seen[next(readers).source] += 1
            assert (live.state.is_up, live.state.reason) == (True, None)
            assert live.is_live
            assert not file.is_live
            assert file.frame_count == FRAME_COUNT
    assert readers.lost == [missing]
    assert (missing.state.is_up, missing.state.reason) == (False, "cannot be opened")
