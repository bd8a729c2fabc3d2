"""Every error raised on purpose: what was expected, what came, what to do. Nothing here does any work."""

from __future__ import annotations

from collections.abc import Mapping


def said(error: BaseException) -> str:
    """The text of an error that may be anybody's: making it may fail as well."""
    try:
        return str(error)
    except Exception:
        return "its own text cannot be made"


class InterpretError(Exception):
    """Base of all errors that this suite raises on purpose; the command line prints it and exits with 2."""

    def __str__(self) -> str:
        # KeyError quotes its argument; a message must read the same whatever it also derives from.
        return str(self.args[0]) if self.args else ""


def error_to_plain(error: InterpretError) -> dict[str, str]:
    """An error of ours as its name and message, to be told to another process."""
    return {"error": type(error).__name__, "message": str(error)}


def error_from_plain(plain: Mapping[str, str]) -> InterpretError:
    """The error of that name; InterpretError itself for names that are none of ours."""
    kind = globals().get(plain["error"], InterpretError)
    if not (isinstance(kind, type) and issubclass(kind, InterpretError)):
        kind = InterpretError
    return kind(plain["message"])


class AddressError(InterpretError, ValueError):
    """The text of an address does not parse; the message points at the character."""


class UnknownLayer(InterpretError, KeyError):
    """No module or output of that path; the message names the nearest ones."""


class IndexOutOfRange(InterpretError, IndexError):
    """The index of an address lies outside the shape found there."""


class NotScalar(InterpretError, ValueError):
    """A single unit was needed and the address names a whole layer, or the reverse."""


class NeverRan(InterpretError, ValueError):
    """The module exists, but the forward pass did not call it."""


class RanTwice(InterpretError, ValueError):
    """The module was called several times in one forward pass; a call index such as ``fc@1`` is needed."""


class Unreachable(InterpretError, ValueError):
    """The place whose gradient was asked for does not reach the unit."""


class BadInput(InterpretError, ValueError):
    """Data that cannot be used: not finite, of integer type where gradients are needed, of the wrong shape."""


class WidthMismatch(BadInput):
    """The data's width does not fit the model."""


class NameMismatch(BadInput):
    """Column names are duplicated, contain NUL, or their number differs from the data's width."""


class TooFewPoints(BadInput):
    """Fewer points than the method needs."""


class DeadUnit(BadInput):
    """The unit is constant over the data, or its gradients vanish everywhere."""


class ModelError(InterpretError, ValueError):
    """The model's own code failed on the data, or it returned something that has no tensor in it."""


class LoadError(InterpretError, ValueError):
    """A model, weights or data file cannot be loaded."""


class LoadRefused(LoadError):
    """Loading the file would execute code from it."""


class ModelNeeded(InterpretError, ValueError):
    """The loaded object has no model; predicting from raw inputs needs one."""


class RowsNotStored(InterpretError, ValueError):
    """The object was saved without its training rows, and the call needs them."""


class BackendMissing(InterpretError, ImportError):
    """A search backend was asked for whose package is not installed; the message names the extra."""


class BackendFailed(InterpretError, RuntimeError):
    """A search backend stopped with an error; the frontier found so far is kept."""


class ClusterLost(InterpretError, ConnectionError):
    """The scheduler of a cluster went away during a sweep; every neuron committed before is kept."""


class ExpressionError(InterpretError, ValueError):
    """The text of a formula does not parse; the message points at the character."""


class NotConverged(InterpretError, ArithmeticError):
    """A computation did not reach a usable result; nothing was hidden by jitter."""


class NoAnswer(InterpretError, RuntimeError):
    """No engine that was asked gave an answer; the message holds each one's error."""


class StoreError(InterpretError, OSError):
    """A run folder cannot be read or written."""


class StoreLocked(StoreError):
    """Another process holds the run's database longer than the patience given."""


class StoreDamaged(StoreError):
    """A run folder is not what was written; nothing in it was changed."""


class UnknownNeuron(InterpretError, KeyError):
    """The run holds no neuron of that address."""


class QueryError(InterpretError, ValueError):
    """A filter of a query does not parse or names no column."""


class UsageError(InterpretError, ValueError):
    """An option or argument that has no meaning here; the message lists what has."""


class ReportError(InterpretError, OSError):
    """A report cannot be written, or there is nothing to put into it."""


class NotTraceable(InterpretError, ValueError):
    """What ran between the input and the unit cannot be followed to an affine layer."""


class BackendTimeout(BackendFailed):
    """A backend's worker did not start, or found nothing, within its time."""


class BackendCrashed(BackendFailed):
    """A backend's worker process ended or was killed; the message shows its last words."""


class BackendOutOfMemory(BackendFailed):
    """A backend's worker process exceeded its memory limit."""


class BackendGarbled(BackendFailed):
    """A backend's worker process wrote what is not its protocol."""
