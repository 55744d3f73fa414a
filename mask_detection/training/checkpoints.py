"""The state of a training run on disk, so that a run that was killed can continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def open_run_folder(model_path: Path, identity: dict[str, Any], resume: bool) -> Path:
    """Return the folder in which a run keeps its state, beside the model that it makes.

    Args:
        model_path: where the model will be written; the folder is ``NAME.training``.
        identity: what makes it the same run: arguments and data set, as JSON knows them.
        resume: whether to continue from what the folder holds; otherwise it is emptied.

    Raises:
        MaskDetectionError: there is nothing to resume, or it was another run.
    """
    folder = model_path.with_suffix(".training")
    record = folder / RECORD_NAME
    if resume:
        if not record.exists():
            raise MaskDetectionError(f"{folder}: holds no interrupted run; start one without --resume")
        if _read_metadata(record) != json.loads(json.dumps(identity)):
            raise MaskDetectionError(
                f"{folder}: was started with other arguments or on other images; repeat those, or leave --resume away"
            )
        return folder
    remove_run_folder(folder)
    make_folder(folder)
    with atomic_write(record) as part:
        part.write_text(json.dumps(identity))
    return folder


def remove_run_folder(folder: Path) -> None:
    """Delete a run's state, first the record without which nothing can be resumed: a kill may come in between."""
    with suppress(OSError):  # there is none
        (folder / RECORD_NAME).unlink()
    shutil.rmtree(folder, ignore_errors=True)


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
    return MaskDetectionError(f"{path}: is damaged; start again without --resume")
