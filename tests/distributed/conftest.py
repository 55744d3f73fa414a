"""Photos, a store that speaks S3, and one Ray for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.images import textured

try:
    import ray.data
except ModuleNotFoundError:
    ray = None
BUCKET = "archive"


class WithoutRay(pytest.Module):
    """A module of tests whose imports fail."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip("Ray is not here: pip install -r requirements-cluster.txt", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return WithoutRay.from_parent(parent, path=module_path) if ray is None else None


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory, small_portrait: np.ndarray) -> Path:
    """A folder of 24 photos, half of them with a face; some in a folder below."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "below").mkdir()
    for i in range(24):
        image = np.roll(small_portrait, 4 * i, axis=1) if i % 2 else textured(seed=i)
        cv2.imwrite(str(folder / ("below" if i % 3 else "") / f"{i:02}.jpg"), image)
    return folder


@pytest.fixture(scope="session")
def bad_photos(tmp_path_factory: pytest.TempPathFactory, many_photos: Path) -> list[Path]:
    """A missing, a truncated and an empty photo."""
    folder = tmp_path_factory.mktemp("bad")
    missing, truncated, empty = (folder / f"{name}.jpg" for name in ("missing", "truncated", "empty"))
    truncated.write_bytes((many_photos / "03.jpg").read_bytes()[:-900])
    empty.touch()
    return [missing, truncated, empty]


@pytest.fixture(scope="session")
def store() -> Iterator[Callable[[str, bytes], str]]:
    """A server that speaks S3, which the environment leads to; puts an object into its bucket, returns its address."""
    boto3 = pytest.importorskip("boto3", reason="moto is not here: pip install -r requirements-dev.txt")
    moto = pytest.importorskip("moto.server", reason="moto is not here: pip install -r requirements-dev.txt")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)

        def put(key: str, data: bytes) -> str:
            client.put_object(Bucket=BUCKET, Key=key, Body=data)
            return f"s3://{BUCKET}/{key}"

        yield put
    server.stop()


@pytest.fixture(scope="package")
def _ray_runs(store: object) -> Iterator[None]:
    from mask_detection.distributed import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
        patch.setenv("RAY_worker_niceness", "0")  # otherwise its processes wait for all others of the machine
        with cluster.ray_session(None):
            yield


@pytest.fixture
def one_ray(_ray_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray on this machine, started once for all tests; a run's own start is left away."""
    monkeypatch.setattr("mask_detection.distributed.cluster.ray_session", lambda address: nullcontext())
