"""Ray: on this machine alone or as a cluster that runs already, what of it is free, and whether its nodes are fit."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import ray.data  # which sets up its logging
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mask_detection.utils.defaults import PROJECT_FOLDER
from mask_detection.utils.errors import MaskDetectionError

# That Ray reserves for a worker. It keeps a core busy, but where nodes die, theirs start anew on the others, which must
# have CPUs left for Ray's own tasks: without any, Ray waits for ever (ray-project/ray#44687).
WORKER_CPUS = 0.25
HELPER_CPUS = 3  # on one machine, beside the cores: of Ray's own tasks, which are short
OBJECT_STORE_BYTES = 256 << 20  # of one machine; photos never go through it
NODE_TIMEOUT_S = 300.0  # for a node to load the networks
PASSED_ON = ("OPENCV_IO_MAX_IMAGE_PIXELS", "OPENCV_LOG_LEVEL")  # of our environment, to workers

logger = logging.getLogger(__name__)


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster at an address; leave it at the end.

    Meanwhile nothing of what Ray prints arrives; its logs lie in ``/tmp/ray/session_latest/logs``.

    Raises:
        MaskDetectionError: there is no such cluster, or it refuses us.
    """
    warnings.filterwarnings("ignore", module="ray")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), _environment():  # noqa: PTH123
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _start(address)
        except Exception as error:  # Ray raises many kinds
            raise MaskDetectionError(_refusal(address, error)) from None
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False  # ours are shown
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
            yield
        finally:
            ray.shutdown()


def _start(address: str | None) -> None:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        ray.init(
            address="local",
            num_cpus=core_count() + HELPER_CPUS,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            **common,
        )
    elif address.startswith("ray://"):
        raise ValueError("is an address of Ray's client; give HOST:PORT on a node, or use `ray job submit`")
    else:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        ray.init(address=address, runtime_env={"env_vars": {**passed_on, "PYTHONPATH": str(PROJECT_FOLDER)}}, **common)
    for name in ("ray", "ray.data"):
        ray_logger = logging.getLogger(name)
        for log_handler in [*ray_logger.handlers]:
            if isinstance(log_handler, logging.StreamHandler):
                ray_logger.removeHandler(log_handler)


@contextmanager
def _environment() -> Iterator[None]:
    """Let the processes that Ray starts find this package, and Ray send no statistics."""
    path = os.pathsep.join(filter(None, [str(PROJECT_FOLDER), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1


def worker_count(address: str | None, resumes: bool = False) -> int:
    """How many workers to start, so that Ray's own tasks still find a CPU: without any, Ray waits for ever.

    Args:
        address: of the cluster; None for this machine alone.
        resumes: whether Ray has to look up what is done, which takes a CPU as long as photos are listed.

    Raises:
        MaskDetectionError: there are too few free CPUs.
    """
    if address is None:
        return core_count()
    free, n_nodes, n_whole = ray.available_resources().get("CPU", 0.0), len(cpu_nodes()), 2 if resumes else 1
    count = workers_that_fit(free, n_nodes, n_whole)
    if not count:
        raise MaskDetectionError(
            f"Ray cluster {address}: {free:g} CPUs are free on {n_nodes} nodes, and {n_whole + 1} are needed; add "
            "nodes, or wait for other jobs to end (`ray status` shows both)"
        )
    return count


def workers_that_fit(free_cpus: float, n_nodes: int, n_whole: int) -> int:
    """The most workers, at most one a CPU, that leave whole CPUs free on some node wherever Ray puts them.

    At worst, the first worker on each node takes a whole CPU from the others, and so does each fourth one after it.

    Args:
        free_cpus: on all nodes.
        n_nodes: how many nodes there are.
        n_whole: how many CPUs must stay whole.
    """
    whole = math.floor(free_cpus)
    for count in range(whole, 0, -1):
        taken = min(count, n_nodes) + int(max(0, count - n_nodes) * WORKER_CPUS)
        if whole - taken >= n_whole:
            return count
    return 0


def cpu_nodes() -> list[dict[str, Any]]:
    """The nodes that are alive and have CPUs, as :func:`ray.nodes` describes them."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def check_nodes(fault_of_node: Callable[..., str], *arguments: Any) -> None:
    """Have each node try what it will need, before any photo is touched.

    Args:
        fault_of_node: runs on each node, and says what keeps it from working.
        *arguments: of that function.

    Raises:
        MaskDetectionError: a node cannot work as this one; it is named.
    """
    probe = ray.remote(num_cpus=0, max_retries=0)(fault_of_node)
    pending = {}
    for node in cpu_nodes():
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        call = probe.options(scheduling_strategy=affinity).remote(*arguments)
        pending[call] = node["NodeManagerAddress"]
    for call, name in pending.items():
        try:
            fault = ray.get(call, timeout=NODE_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError:
            fault = f"gave no answer in {NODE_TIMEOUT_S:g} s; look at it with `ray status`"
        except ray.exceptions.RayError as error:
            fault = f"cannot run this version of the package ({reason_of(error)}); see docs/cluster.md"
        if fault:
            raise MaskDetectionError(f"node {name}: {fault}")


def in_workers(
    data: ray.data.Dataset, worker_class: type, arguments: tuple[Any, ...], rows_per_task: int, n_workers: int
) -> ray.data.Dataset:
    """Have workers turn data into other data, so many rows at a time.

    Args:
        data: what they get, as Arrow tables.
        worker_class: takes the arguments; called with a table, it gives another one.
        arguments: of each worker.
        rows_per_task: in a table; what a worker that dies loses at most.
        n_workers: processes.

    Returns:
        What is computed when it is written or read.
    """
    return data.repartition(target_num_rows_per_block=rows_per_task).map_batches(
        worker_class,
        fn_constructor_args=arguments,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=WORKER_CPUS,
        compute=ray.data.ActorPoolStrategy(size=n_workers),
    )


def start_beside(actor_class: type) -> Any:
    """Start an actor that takes no CPU, on this node as long as that lives; without its node it starts anew."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(**options)(actor_class).remote()


def reason_of(error: BaseException) -> str:
    """What an error of Ray comes to, in one line: the error that its traceback ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return ((errors or lines)[-1] if lines else type(error).__name__)[:300]


def _refusal(address: str | None, error: Exception) -> str:
    """What to tell the user where Ray could not be started or joined."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
    if address is None:
        return f"Ray cannot be started here ({reason}); try again when this machine is less busy"
    return f"Ray cluster {address}: {reason}; check the address and the token, see docs/cluster.md"
