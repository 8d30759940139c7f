"""From settings to a model that answers: files, family, devices and engine, shared by all who ask for the same."""

import hashlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from resift.checkpoint import Checkpoint, Form, directory_of, open_checkpoint
from resift.errors import ModelUnsupported, ScoringFailed
from resift.forking import renew_in_child
from resift.scoring.backends import Outputs, RunsOn
from resift.scoring.backends.choosing import Choice, choose
from resift.scoring.catalog import restrictive_licence, row_of, why_unsuitable
from resift.scoring.engine import Engine
from resift.scoring.families import Family
from resift.scoring.families.lexical import Lexical
from resift.scoring.planning import Ids, Tokens
from resift.scoring.recognition import recognise
from resift.settings import Settings
from resift.types import Workload

logger = logging.getLogger("resift")

# Texts of very different lengths, on which a model of unknown make is tried packed and plain.
_SAMPLE_QUERY = "what do pandas eat?"
_SAMPLE_DOCUMENTS = ("A", "Bamboo eaters.", "The giant panda eats bamboo, and little else. " * 20)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that answers: how it is read, and, unless it needs no device, the engine that runs it."""

    family: Family
    engine: Engine | None = None
    version: str = ""
    """The commit of a hub model, or what tells one state of a directory's files from another."""

    runs_on: tuple[RunsOn, ...] = ()
    """One for each device."""


def load_model(settings: Settings) -> LoadedModel:
    """Load a model as the settings say."""
    if settings.model == "lexical":
        return LoadedModel(Lexical())
    choice, checkpoint, form = find_model(settings)
    recognised = recognise(checkpoint, settings)
    sample = recognised.family.prepare(_SAMPLE_QUERY, _SAMPLE_DOCUMENTS, None).batch()
    backends = choice.open(form, checkpoint, recognised.readout, sample=sample, half=recognised.half)
    _mention_licence(settings)
    engine = Engine(backends, max_queue_tokens=settings.max_queue_tokens)
    return LoadedModel(
        recognised.family,
        engine,
        version=checkpoint.revision or _state(settings),
        runs_on=tuple(backend.runs_on for backend in backends),
    )


def find_model(settings: Settings) -> tuple[Choice, Checkpoint, Form]:
    """Return what runs a model, its files, fetched where they are not here yet, and in which form they are read."""
    for named in (settings.model, os.path.abspath(settings.model), settings.like):  # noqa: PTH100 - for "."
        if isinstance(named, str) and (reason := why_unsuitable(named)):
            raise ModelUnsupported(f"{named} cannot be run here: {reason}; choose another model")
    devices = [settings.device] if isinstance(settings.device, str) else settings.device
    if isinstance(settings.like, str):
        row_of(settings.like)
    choice = choose(settings, devices)
    checkpoint = open_checkpoint(
        settings.model,
        forms=choice.forms,
        dtype=choice.graph,
        before=choice.require,
        revision=settings.revision,
        local_files_only=settings.local_files_only,
        cache_dir=settings.cache_dir,
    )
    form = checkpoint.form(choice.forms)
    choice.require(form)
    return choice, checkpoint, form


def _mention_licence(settings: Settings) -> None:
    for named in (settings.model, settings.like):
        if isinstance(named, str) and (licence := restrictive_licence(named)):
            logger.warning("%s is licensed %s, which forbids commercial use", named, licence)
            return


class SharedModels:
    """The models of this process: equal settings share one, which is closed when the last who holds it lets go."""

    def __init__(self) -> None:
        self._slots: dict[object, _Slot] = {}
        self._forgotten: deque[object] = deque()
        self._unheard: list[Engine] = []
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Take new locks, as a forked child must."""
        self._lock = threading.Lock()
        for slot in self._slots.values():
            slot.lock = threading.Lock()

    def acquire(self, settings: Settings) -> tuple[LoadedModel, object]:
        """Return the model for the settings, loaded now if nobody holds it, and the key to release it by."""
        key = _key(settings)
        with self._lock:
            self._drain()
            slot = self._slots.setdefault(key, _Slot())
            slot.holders += 1
        try:
            with slot.lock:
                if slot.loaded is None:
                    slot.loaded = load_model(settings)
                return slot.loaded, key
        except BaseException:
            self.release(key)
            raise

    def release(self, key: object) -> None:
        """Let go of a model; the last to do so closes it, and waits until what was accepted is answered."""
        with self._lock:
            loaded = self._take_out(key)
        self._settle()
        if loaded is not None and loaded.engine is not None:
            loaded.engine.close()

    def forget(self, key: object) -> None:
        """Let go of a model when a ranker is collected as garbage: soon, without ever waiting for a lock."""
        self._forgotten.append(key)
        self._settle()

    def _settle(self) -> None:
        while self._forgotten and self._lock.acquire(blocking=False):
            try:
                self._drain()
            finally:
                self._lock.release()

    def _drain(self) -> None:
        """Let go of what was collected since."""
        while self._forgotten:
            loaded = self._take_out(self._forgotten.popleft())
            if loaded is not None and loaded.engine is not None:
                self._unheard.append(loaded.engine)
        self._unheard = [engine for engine in self._unheard if not engine.forget()]

    def _take_out(self, key: object) -> LoadedModel | None:
        """Count one holder less; return the model if that was the last."""
        slot = self._slots[key]
        slot.holders -= 1
        if slot.holders:
            return None
        del self._slots[key]
        return slot.loaded


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.loaded: LoadedModel | None = None


def _key(settings: Settings) -> object:
    """Return what two rankers must agree on to share a model, down to the state of a local directory's files."""
    return replace(settings, normalize=None, instruction=None, fields=None, local_files_only=False), _state(settings)


def _state(settings: Settings) -> str:
    """Return what tells one state of a local directory's files from another; "" for what is none."""
    directory = directory_of(settings.model)
    if directory is None:
        return ""
    return hashlib.sha256(repr(sorted(_stamps(directory))).encode(errors="surrogateescape")).hexdigest()


def _stamps(directory: str, *, below: int = 1) -> Iterator[tuple[str, int, int]]:
    """Yield what tells one state of a model's files from another; its modules' folders are one level down."""
    for entry in os.scandir(directory):
        if entry.is_file():
            yield entry.path, entry.stat().st_mtime_ns, entry.stat().st_size
        elif below and entry.is_dir():
            yield from _stamps(entry.path, below=below - 1)


class Hold:
    """One ranker's hold on a loaded model; let go at the latest when it is forgotten."""

    def __init__(self, settings: Settings) -> None:
        loaded, self._key = _SHARED.acquire(settings)
        self._loaded: LoadedModel | None = loaded
        self._forgotten = weakref.finalize(self, _SHARED.forget, self._key)
        self._forgotten.atexit = False  # engines end themselves

    @property
    def family(self) -> Family:
        """How the model is read."""
        return self._held().family

    @property
    def version(self) -> str:
        """Which of a model's states this is."""
        return self._held().version

    @property
    def runs_on(self) -> tuple[RunsOn, ...]:
        """Where and how the model runs, for each device."""
        return self._held().runs_on

    @property
    def breath_tokens(self) -> int:
        """How many tokens the devices take on at once."""
        engine = self._held().engine
        return 0 if engine is None else engine.breath_tokens

    @property
    def workload(self) -> Workload:
        """What the devices have done, and what waits for them."""
        engine = self._held().engine
        return Workload() if engine is None else engine.workload

    def submit(self, sequences: Sequence[Tokens], prefix: Ids) -> "Future[Outputs]":
        """Hand sequences to the engine."""
        engine = self._held().engine
        assert engine is not None, "a family without a device left something to run. This is a bug."
        return engine.submit(sequences, prefix)

    def release(self) -> None:
        """Let go. If nobody else holds the model, answer what was accepted and free it. Again changes nothing."""
        self._loaded = None
        if self._forgotten.detach():
            _SHARED.release(self._key)

    def _held(self) -> LoadedModel:
        loaded = self._loaded
        if loaded is None:
            raise ScoringFailed("this ranker is closed; load the model again to go on")
        return loaded


_SHARED = SharedModels()
