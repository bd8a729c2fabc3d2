"""The same tasks on a Dask cluster. Workers get the files by their hash; only the coordinator writes the run.

Every file of the order travels to the workers once, inside a worker plugin, which workers that join later
get too; a worker that finds the same file under the same path (a shared disk) uses that one. Results come
back as bytes through the scheduler. A worker that is lost has its neurons explained elsewhere.
"""

from __future__ import annotations

import atexit
import queue
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from interpret.errors import (
    BackendMissing,
    ClusterLost,
    InterpretError,
    LoadError,
    UsageError,
    error_from_plain,
    error_to_plain,
)
from interpret.sweep import Result, attempt
from interpret.sweeping.frames import result_from_bytes, result_to_bytes
from interpret.sweeping.session import Order, Prepared, Session, title_of

#: Larger files do not travel; they must lie on a disk that the workers share.
LARGEST = 256 * 1024**2
#: Seconds to wait for the scheduler, and for its first worker.
CONNECT = 30
#: A neuron is given to another worker this many times when the one that has it dies.
_LIVES = 50

_lock = threading.Lock()
_sessions: dict[str, Session] = {}


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise BackendMissing(
            "--scheduler needs dask.distributed, which is not installed: pip install 'twinscope[cluster]'"
        ) from error
    return distributed


def _files(order: Order) -> dict[str, str]:
    """Field of the order → file, for each file that a worker needs."""
    found = {"model": order.model.rpartition(":")[0], "data": order.data}
    if order.weights:
        found["weights"] = order.weights
    return {field: file for field, file in found.items() if Path(file).is_file()}


def ship(order: Order) -> dict[str, Any]:
    """What a worker needs to know of the order: its text, and name, hash and content of each of its files.

    Raises:
        LoadError: a file cannot be read.
    """
    files = {}
    for field, name in _files(order).items():
        path = Path(name).resolve()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LoadError(f"{name}: cannot be read ({error.strerror})") from error
        key = sha256(content).hexdigest()
        files[field] = {
            "path": str(path),
            "hash": key,
            "content": content if len(content) <= LARGEST else None,
        }
    return {"order": order.to_json(), "files": files}


def unpack(shipped: dict[str, Any], folder: Path) -> Order:
    """The order with paths that are good on this machine.

    Raises:
        LoadError: a file is too large to travel and not here, or another file lies in its place.
    """
    order = Order.from_json(shipped["order"])
    for field, file in shipped["files"].items():
        path = _placed(file, folder)
        value = f"{path}:{order.model.rpartition(':')[2]}" if field == "model" else str(path)
        change: dict[str, Any] = {field: value}
        order = replace(order, **change)
    return order


def _placed(file: dict[str, Any], folder: Path) -> Path:
    there, key, content = Path(file["path"]), str(file["hash"]), file["content"]
    if there.is_file() and sha256(there.read_bytes()).hexdigest() == key:
        return there
    if content is None:
        raise LoadError(
            f"{there}: this worker does not have the file (SHA-256 {key[:12]}…), and it is larger "
            f"than "
            f"{LARGEST // 1024**2} MB, the most that travels. Put it on a disk that all workers share."
        )
    place = folder / key / there.name
    if not (place.is_file() and sha256(place.read_bytes()).hexdigest() == key):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.rename(place)
    return place


class Plugin:
    """A Dask worker plugin that keeps what `ship` gave; Dask hands it to workers that join later as well."""

    def __init__(self, key: str, shipped: dict[str, Any]) -> None:
        self.key, self.shipped = key, shipped
        self.name = f"twinscope-{key[:16]}"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        worker.twinscope = {**getattr(worker, "twinscope", {}), self.key: self.shipped}


@cache
def _own_folder() -> Path:
    """Where this process puts files that travelled; nobody else may write there, for the model's file is run."""
    folder = tempfile.mkdtemp(prefix="twinscope-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _session(key: str) -> Session:
    """The worker's session of an order; made once per process."""
    if key not in _sessions:
        shipped = _distributed().get_worker().twinscope[key]
        _sessions[key] = Session(unpack(shipped, _own_folder()))
    return _sessions[key]


def remote_prepare(key: str) -> dict[str, Any]:
    """Runs on a worker: what there is to do, or the error."""
    with _lock:
        try:
            prepared = _session(key).prepare()
        except InterpretError as error:
            return error_to_plain(error)
    return asdict(prepared)


def remote_explain(key: str, address: str) -> bytes:
    """Runs on a worker: one neuron, one at a time per process, for hooks on one model must not meet."""
    with _lock:
        return result_to_bytes(attempt(_session(key), address))


class Cluster:
    """An executor on a Dask cluster (see `interpret.sweep.Executor`)."""

    def __init__(self, order: Order, scheduler: str) -> None:
        distributed = _distributed()
        self._scheduler = scheduler
        # Paths differ between machines; the title, which is stored, must not.
        self._order = replace(order, title=order.title or title_of(order.model))
        shipped = ship(self._order)
        self._key = sha256(repr(shipped).encode()).hexdigest()
        self._hand: dict[str, Any] = {}
        self._tries: dict[str, int] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self._client = distributed.Client(scheduler, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        plugin = type("Shipped", (Plugin, distributed.WorkerPlugin), {})(self._key, shipped)
        self._client.register_plugin(plugin, name=plugin.name)

    def prepare(self) -> Prepared:
        """Load model and data on a worker, which says what there is to do.

        Raises:
            InterpretError: they cannot be used, or the cluster has no worker.
        """
        try:
            self._client.wait_for_workers(1, timeout=CONNECT)
        except TimeoutError as error:
            raise UsageError(
                f"the Dask cluster has had no worker for {CONNECT} s; start one: dask worker ADDRESS"
            ) from error
        plain = self._client.submit(remote_prepare, self._key, pure=False, retries=_LIVES).result()
        if "error" in plain:
            raise error_from_plain(plain)
        return Prepared.from_plain(plain)

    def free(self) -> str | None:
        """See Executor. Each worker has one neuron in hand and one waiting, so that none is idle."""
        with self._connected():
            workers = max(1, len(self._client.nthreads()))
        return "" if len(self._hand) < 2 * workers else None

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Talk to the scheduler; once it has gone, the sweep ends, for no neuron can be handed out any more."""
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise self._lost() from error
        if self._client.status != "running":
            raise self._lost()

    def _lost(self) -> ClusterLost:
        return ClusterLost(
            f"the Dask scheduler at {self._scheduler} went away. Every neuron committed before is kept; start it "
            f"and its workers again, then run the same command to go on."
        )

    def submit(self, address: str) -> None:
        """See Executor."""
        attempt_number = self._tries[address] = self._tries.get(address, 0) + 1
        name = f"twinscope-{self._key[:16]}-{address}-{attempt_number}-{uuid.uuid4().hex[:8]}"
        with self._connected():
            future = self._client.submit(remote_explain, self._key, address, key=name, pure=False)
        self._hand[address] = future
        future.add_done_callback(lambda _: self._ended.put(address))

    def wait(self, seconds: float) -> list[Result]:
        """See Executor."""
        try:
            addresses = [self._ended.get(timeout=seconds)]
        except queue.Empty:
            with self._connected():
                return []
        while not self._ended.empty():
            addresses.append(self._ended.get())
        found = [self._result(address) for address in addresses]
        return [result for result in found if result is not None]

    def _result(self, address: str) -> Result | None:
        """What came of a neuron; None when its worker was lost and it is on its way to another."""
        distributed = _distributed()
        future = self._hand.pop(address)
        try:
            return result_from_bytes(future.result())
        except (distributed.KilledWorker, CancelledError, OSError) as error:
            if self._tries[address] < _LIVES:
                self.submit(address)
                return None
            return Result(address, error="WorkerLost", message=f"its workers died {_LIVES} times ({error})")

    def close(self, now: bool = False) -> None:
        """See Executor."""
        if self._hand:
            self._client.cancel(list(self._hand.values()), force=now)
        self._client.close()
