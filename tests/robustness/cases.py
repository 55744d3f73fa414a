"""What the fuzzers share: cases decided by a seed and a number, how a run may end, and keeping what doesn't hold."""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from tests.robustness import forked

# What Python prints of itself; the scripts' own lines and those of C libraries look otherwise.
PYTHON_TROUBLE = re.compile(r"^Traceback |^Exception ignored|^\S+\.py:\d+: \w*Warning: ", re.MULTILINE)

Kind = TypeVar("Kind", bound=Callable[..., Any])
RunCase = Callable[[int, int, Sequence[Kind], Path], tuple[str, forked.Ended, list[str]]]


def one_kind(weights: Mapping[Kind, float], rng: np.random.Generator) -> Kind:
    """One of the kinds, each as likely as its weight says."""
    kinds, shares = [*weights], np.array([*weights.values()], float)
    return kinds[rng.choice(len(kinds), p=shares / shares.sum())]


def faults_of(ended: forked.Ended, statuses: Collection[int], can_complain: bool = True) -> list[str]:
    """What is wrong with how a run ended.

    Args:
        ended: how it did.
        statuses: how it may.
        can_complain: whether something took what it wrote to standard error.
    """
    found = []
    if ended.was_killed or ended.status not in statuses:
        found.append(ended.how)
    if can_complain and ended.status > 0 and not re.search(r"^(\S+: )?error: .", ended.errors, re.MULTILINE):
        found.append("no line tells why it failed")
    if trouble := PYTHON_TROUBLE.search(ended.errors):
        found.append(ended.errors[trouble.start() :].strip().splitlines()[-1])
    return found


def run_cases(run_case: RunCase[Kind], kinds: Sequence[Kind], args: argparse.Namespace) -> int:
    """Run cases, print how they end, keep what doesn't hold.

    Args:
        run_case: runs the case of a seed and a number in an empty folder; returns its kind, how the run ended, and what
            is wrong with it.
        kinds: those to choose from.
        args: see :func:`read_arguments`.

    Returns:
        The exit status: 0 all hold, 1 some don't.
    """
    numbers = range(args.cases) if args.case is None else [args.case]
    ends: Counter[tuple[str, str]] = Counter()
    slowest, n_failed = (0.0, ""), 0
    for number in tqdm(numbers, unit="case", disable=None):
        folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
        kind, ended, found = run_case(args.seed, number, kinds, folder)
        ends[kind, "failed" if found else ended.how] += 1
        slowest = max(slowest, (ended.seconds, f"number {number}, {kind}"))
        if found:
            n_failed += 1
            kept = args.failures / f"seed_{args.seed}_case_{number}_{kind}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True, copy_function=_copy_regular)
            print(f"case {number}, {kind}: {'; '.join(found)}\n  kept in {kept}", flush=True)
        if args.case is not None:
            print(f"case {number}, {kind}: {ended.how}, {ended.seconds:.1f} s\n{ended.errors}")
        shutil.rmtree(folder)
    for name in (kind.__name__ for kind in kinds):
        counts = {how: count for (kind, how), count in sorted(ends.items()) if kind == name}
        print(f"{name}: {sum(counts.values())} cases; {', '.join(f'{n} {how}' for how, n in counts.items())}")
    print(
        f"{len(numbers)} cases, seed {args.seed}: {n_failed} failed; the slowest, {slowest[1]}, took {slowest[0]:.1f} s"
    )
    return 1 if n_failed else 0


def _copy_regular(source: str, copy: str) -> None:
    if Path(source).is_file():  # pipes and devices have nothing to be kept
        shutil.copy2(source, copy)


def read_arguments(argv: Sequence[str] | None, description: str, kinds: Iterable[Kind]) -> argparse.Namespace:
    """Read a fuzzer's command line; ``only`` holds the chosen kinds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    by_name = {kind.__name__: kind for kind in kinds}
    parser.add_argument("--cases", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides all cases (default: %(default)s)")
    parser.add_argument("--case", type=int, metavar="N", help="only the case of this number")
    parser.add_argument("--only", nargs="+", choices=by_name, default=[*by_name], help="only these kinds")
    parser.add_argument(
        "--failures", type=Path, default=Path("fuzz_failures"), metavar="DIR", help="where to keep them"
    )
    args = parser.parse_args(argv)
    args.only = [by_name[name] for name in args.only]
    return args
