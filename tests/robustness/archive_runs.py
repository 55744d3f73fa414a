"""Kill archive runs: the driver, a worker, a node. In the end each photo has one row, that of detect_mask_image.py.

python -m tests.robustness.archive_runs --photos street/images
python -m tests.robustness.archive_runs --photos street/images --limit 200 --only driver worker node --rounds 5

equal    a run of its own, with the time on processors that workers take for each second of detect_mask_image.py
driver   SIGKILL of the command, and then the same with --resume
stop     SIGTERM, status 130, and then the same with --resume
worker   SIGKILL of a worker, which Ray starts anew
node     SIGKILL of one of two nodes
submit   `ray start` twice, and `ray job submit` with a token; a job without it is refused

Takes minutes a round. Exit status: 0 all rounds hold, 1 some don't.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.paths import ROOT

WORKER_TITLE = "ray::MapWorker(MapBatches(PhotoDetector))"
NODE_CPUS, STORE_BYTES = "2", "100000000"
POLL_S = 1.0


class Broken(Exception):  # noqa: N818 (a finding)
    """A round does not hold."""


class Bench:
    """The photos, what plain detection says of them, and how archive runs are started on them."""

    def __init__(self, photos: list[Path], folder: Path, timeout_s: float, seed: int) -> None:
        self.photos, self.folder, self.timeout_s = photos, folder, timeout_s
        self.random = random.Random(seed)  # noqa: S311 (no secret)
        self.photo_list = folder / "photos.txt"
        self.photo_list.write_text("".join(f"{photo}\n" for photo in photos), encoding="utf-8")
        self.plain, self.plain_cpu_s = self._plain()

    def _plain(self) -> tuple[dict[str, str], float]:
        """The line of each photo, and the time on processors that it took."""
        path = self.folder / "plain.jsonl"
        links = self.folder / "links"
        links.mkdir()
        for number, photo in enumerate(self.photos):
            (links / f"{number:06}{photo.suffix}").symlink_to(photo)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["detect_mask_image.py", "--image", links, "--json", path, "--no-display"]
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        names = {str(links / f"{n:06}{photo.suffix}"): str(photo) for n, photo in enumerate(self.photos)}
        lines = {names[record["image"]]: json.dumps({**record, "image": names[record["image"]]}) for record in records}
        return lines, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def output(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder), "out")

    def command(self, output: Path, *arguments: str) -> list[str]:
        words = ("-m", "mask_detection", "archive", "--image", self.photo_list, "--output", output, *arguments)
        return [str(word) for word in words]

    def start(self, output: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *self.command(output, *arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
        )

    def finish(self, process: subprocess.Popen[bytes], status: int = 0) -> None:
        try:
            ended = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken(f"no end within {self.timeout_s:g} s") from None
        if ended != status:
            raise Broken(f"status {ended} instead of {status}")

    def wait_for_rows(self, output: Path, process: subprocess.Popen[bytes]) -> None:
        """Wait until some of the rows are there, and then a moment of random length."""
        ends = time.monotonic() + self.timeout_s
        while not any((output / "checkpoint").glob("*.parquet")):
            if time.monotonic() > ends or process.poll() is not None:
                raise Broken("no rows were written")
            time.sleep(POLL_S / 4)
        time.sleep(self.random.uniform(0, 3))
        if process.poll() is not None:
            raise Broken("it ended before it could be killed; take more photos")

    def check(self, output: Path) -> None:
        """Each photo has one row, and it is the line of plain detection."""
        import pyarrow.dataset as pads

        from mask_detection.distributed.records import json_line

        rows = pads.dataset(output / "records").to_table().to_pylist()
        if len(rows) != len(self.plain):
            raise Broken(f"{len(rows)} rows for {len(self.plain)} photos")
        different = {row["image"] for row in rows if self.plain.get(row["image"]) != json_line(row)}
        if different:
            raise Broken(f"{len(different)} rows differ, such as that of {min(different)}")


# --- scenarios ---


def equal(bench: Bench) -> str:
    output = bench.output()
    began = time.monotonic()
    process = bench.start(output)
    cpu_s, bytes_ = watch_workers(process)
    bench.finish(process)
    bench.check(output)
    bench.finish(bench.start(output), status=2)
    bench.finish(bench.start(output, "--resume"))
    bench.check(output)
    plain_s = bench.plain_cpu_s
    return (
        f"workers {cpu_s:.1f} s on processors, plain {plain_s:.1f} s, ratio {cpu_s / plain_s:.2f}; "
        f"{bytes_ >> 20} MiB a worker; {time.monotonic() - began:.0f} s"
    )


def driver(bench: Bench) -> str:
    return stop_and_resume(bench, signal.SIGKILL, status=-signal.SIGKILL)


def stop(bench: Bench) -> str:
    return stop_and_resume(bench, signal.SIGTERM, status=130)


def stop_and_resume(bench: Bench, number: signal.Signals, status: int) -> str:
    output = bench.output()
    process = bench.start(output, "--photos-per-file", "20")
    bench.wait_for_rows(output, process)
    process.send_signal(number)
    bench.finish(process, status)
    wait_for_no_workers(bench.timeout_s)
    n_done = len([*(output / "records").glob("*.parquet")])
    bench.finish(bench.start(output, "--photos-per-file", "20"), status=2)
    bench.finish(bench.start(output, "--photos-per-file", "20", "--resume"))
    bench.check(output)
    return f"ended by {number.name} after {n_done} files"


def worker(bench: Bench) -> str:
    output = bench.output()
    process = bench.start(output, "--photos-per-file", "20")
    bench.wait_for_rows(output, process)
    victim = bench.random.choice([*workers()])
    os.kill(victim, signal.SIGKILL)
    bench.finish(process)
    bench.check(output)
    return f"killed process {victim}"


def node(bench: Bench) -> str:
    from ray.cluster_utils import Cluster

    resources = {"num_cpus": int(NODE_CPUS), "object_store_memory": int(STORE_BYTES)}
    try:
        cluster = Cluster(initialize_head=True, head_node_args=resources)
    except Exception as error:  # of a machine that is too busy
        raise Broken(f"Ray did not start ({error})") from None
    try:
        other = cluster.add_node(**resources)
        output = bench.output()
        process = bench.start(output, "--photos-per-file", "20", "--address", cluster.address)
        bench.wait_for_rows(output, process)
        cluster.remove_node(other, allow_graceful=False)
        bench.finish(process)
        bench.check(output)
    finally:
        cluster.shutdown()
    return "one node of two was left"


def submit(bench: Bench) -> str:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    with two_nodes({**os.environ, **token}) as (address, dashboard):
        refused = bench.start(bench.output(), "--address", address, **token | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
        bench.finish(refused, status=2)
        output = bench.output()
        working_folder = bench.folder / "code"
        shutil.copytree(ROOT, working_folder, ignore=shutil.ignore_patterns(".*", "tests", "docs", "dataset"))
        ray = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
        where = ["--address", dashboard, "--working-dir", str(working_folder)]
        job = [*ray, *where, "--", "python", *bench.command(output)]
        environment = {**os.environ, **token}
        bench.finish(
            subprocess.Popen(job, env=environment, stdout=subprocess.DEVNULL)
        )  # its log goes to standard error
        bench.check(output)
    return "done by two nodes; refused with another token"


# --- Ray's processes ---


def workers() -> Iterator[int]:
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith(WORKER_TITLE):
            yield process.pid


def watch_workers(run: subprocess.Popen[bytes]) -> tuple[float, int]:
    """The time on processors that all workers of a run take, and the memory of the largest, until it has ended."""
    import psutil

    cpu_s: dict[int, float] = {}
    peak = 0
    while run.poll() is None:
        try:
            for process in psutil.Process(run.pid).children(recursive=True):
                if process.cmdline()[:1] and process.cmdline()[0].startswith(WORKER_TITLE):
                    times = process.cpu_times()
                    cpu_s[process.pid] = times.user + times.system
                    peak = max(peak, process.memory_info().rss)
        except (psutil.Error, IndexError):  # one has just ended
            pass
        time.sleep(POLL_S / 4)
    return sum(cpu_s.values()), peak


def wait_for_no_workers(timeout_s: float) -> None:
    ends = time.monotonic() + timeout_s
    while any(True for _ in workers()):
        if time.monotonic() > ends:
            raise Broken("workers outlived the command")
        time.sleep(POLL_S)


@contextmanager
def two_nodes(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Two nodes on this machine; yields the addresses of the cluster and of its dashboard."""
    port, dashboard_port = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    common = ["--block", "--num-cpus", NODE_CPUS, "--object-store-memory", STORE_BYTES]
    head = ["--head", "--node-ip-address", "127.0.0.1", "--port", str(port), "--dashboard-port", str(dashboard_port)]
    nodes = []
    try:
        for arguments in (head, ["--address", address]):
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *common]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            nodes.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet))
            wait_for_nodes(address, environment, nodes)
        yield address, f"http://127.0.0.1:{dashboard_port}"
    finally:
        for process in nodes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # which ends its children, too
            process.wait(60)


def wait_for_nodes(address: str, environment: dict[str, str], nodes: list[subprocess.Popen[bytes]]) -> None:
    script = (
        f"import ray; ray.init({address!r}, log_to_driver=False); print(sum(node['Alive'] for node in ray.nodes()))"
    )
    for _ in range(20):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == str(len(nodes)):
            return
        if any(process.poll() is not None for process in nodes):
            break
        time.sleep(POLL_S)
    raise Broken(f"{len(nodes)} nodes did not start")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


SCENARIOS: dict[str, Callable[[Bench], str]] = {
    scenario.__name__: scenario for scenario in (equal, driver, stop, worker, node, submit)
}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="folder of photos")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N of them")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=[*SCENARIOS])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for each run (default: %(default)g)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    n_broken = 0
    photos = sorted(path.absolute() for path in args.photos.iterdir() if path.is_file())[: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(photos, Path(folder), args.timeout, args.seed)
        for name in args.only * args.rounds:
            try:
                print(f"{name}: {len(photos)} photos; {SCENARIOS[name](bench)}", flush=True)
            except Broken as finding:
                n_broken += 1
                print(f"{name}: BROKEN: {finding}", flush=True)
    return 1 if n_broken else 0


if __name__ == "__main__":
    sys.exit(main())
