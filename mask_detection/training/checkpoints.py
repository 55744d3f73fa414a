"""The state of a training run on disk, so that a run that was killed can continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.io.growing import locked_folder
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, make_folder, read_whole

if TYPE_CHECKING:
    import keras

RECORD_NAME = "run.json"

Curves = dict[str, list[float]]  # loss, accuracy, val_loss, val_accuracy: a value an epoch


def plain(options: Any, without: Collection[str]) -> dict[str, Any]:
    """A run's options (a dataclass of numbers, text and paths) as JSON knows them, but for those in ``without``."""
    names = [field.name for field in fields(options) if field.name not in without]
    return {name: _plain(getattr(options, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextmanager
def open_run_folder(
    model_path: Path, identity: dict[str, Any], resume: bool = False, restart: bool = False
) -> Iterator[Path]:
    """Yield the folder in which a run keeps its state, beside the model that it makes; delete it when the run is done.

    Args:
        model_path: where the model will be written; the folder is ``NAME.training``.
        identity: what makes it the same run: arguments and data set, as JSON knows them.
        resume: whether to continue from what the folder holds.
        restart: whether to delete what the folder holds.

    Raises:
        MaskDetectionError: there is nothing to resume, or it was another run; there is something, and neither
            ``resume`` nor ``restart`` says what to do with it; another run is at work there.
    """
    folder = model_path.with_suffix(".training")
    is_interrupted = (folder / RECORD_NAME).exists()
    if resume and not is_interrupted:
        raise MaskDetectionError(f"{folder}: holds no interrupted run; start one without --resume")
    make_folder(folder)
    with locked_folder(folder):
        if resume:
            _check_same_run(folder, identity)
        elif is_interrupted and not restart:
            raise MaskDetectionError(f"{folder}: holds an interrupted run; add --resume to continue it or --restart")
        else:
            _empty(folder)
            with atomic_write(folder / RECORD_NAME) as part:
                part.write_text(json.dumps(identity))
        yield folder
        _empty(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _check_same_run(folder: Path, identity: dict[str, Any]) -> None:
    if _read_metadata(folder / RECORD_NAME) != json.loads(json.dumps(identity)):
        raise MaskDetectionError(
            f"{folder}: was started with other arguments or on other images; repeat those, or take --restart instead"
        )


def _empty(folder: Path) -> None:
    """Delete a run's state, first the record without which nothing can be resumed: a kill may come in between."""
    record = folder / RECORD_NAME
    for path in sorted(folder.iterdir(), key=lambda path: path != record):
        with suppress(OSError):  # what cannot be deleted is written over
            path.unlink()


class PhaseCheckpoint:
    """The curves of one training phase, its last weights and its best ones, on disk after every epoch.

    Attributes:
        curves: a value an epoch for each quantity.
    """

    def __init__(self, folder: Path, phase: str, monitor: str = "val_loss") -> None:
        """Find what an interrupted run left, if anything.

        Args:
            folder: from :func:`open_run_folder`.
            phase: its name.
            monitor: the quantity that is lowest in the best epoch.
        """
        self._folder = folder
        self._phase = phase
        self._monitor = monitor
        self._record = folder / f"{phase}.json"
        self.curves: Curves = {}
        if self._record.exists():
            self.curves = _read_metadata(self._record)

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return len(self.curves.get(self._monitor, ()))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest value of the monitored quantity, counted from 0."""
        return int(np.argmin(self.curves[self._monitor]))

    def restore_last(self, model: keras.Model) -> None:
        """Put the weights and the optimizer's state after the last finished epoch into a compiled model."""
        if self.epochs_done:
            self._restore(self.epochs_done - 1, model)

    def restore_best(self, model: keras.Model) -> None:
        """Put the weights and the optimizer's state after the best epoch into a compiled model."""
        self._restore(self.best_epoch, model)

    def keep(self, model: keras.Model, values: dict[str, float]) -> None:
        """Record a finished epoch: the weights first, then the curves that count it, then what is no longer needed.

        Raises:
            MaskDetectionError: the disk is full.
        """
        with atomic_write(self._state(self.epochs_done)) as part, part.open("wb") as file:
            np.savez(file, *(variable.numpy() for variable in _variables(model)))
        for quantity, value in values.items():
            self.curves.setdefault(quantity, []).append(float(value))
        with atomic_write(self._record) as record:
            record.write_text(json.dumps(self.curves))
        needed = {self._state(self.epochs_done - 1), self._state(self.best_epoch)}
        for old in set(self._folder.glob(f"{self._phase}_*.npz")) - needed:
            old.unlink()

    def _restore(self, epoch: int, model: keras.Model) -> None:
        path = self._state(epoch)
        try:
            with np.load(path, allow_pickle=False) as state:
                for variable, value in zip(_variables(model), state.values(), strict=True):
                    variable.assign(value)
        except Exception:  # whatever a damaged archive leads NumPy, zipfile and zlib to raise
            raise _damaged(path) from None

    def _state(self, epoch: int) -> Path:
        return self._folder / f"{self._phase}_{epoch:04d}.npz"


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Everything that training changes in a compiled model, always in the same order."""
    return [*model.variables, *model.optimizer.variables]


def _read_metadata(path: Path) -> Any:
    try:
        return json.loads(read_whole(path, "a record of a run"))
    except ValueError:
        raise _damaged(path) from None


def _damaged(path: Path) -> MaskDetectionError:
    return MaskDetectionError(f"{path}: is damaged; start again with --restart")
