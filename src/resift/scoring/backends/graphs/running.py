"""A graph as a backend: lay a batch out, run the graph, read the rows."""

import ctypes
from collections.abc import Callable

import numpy as np

from resift.forking import renew_in_child
from resift.scoring.backends import OutOfMemory, Outputs, RunsOn
from resift.scoring.backends.graphs.contract import Session
from resift.scoring.backends.graphs.feeds import Feeder
from resift.scoring.backends.graphs.readouts import Reading
from resift.scoring.planning import Batch


class GraphBackend:
    """One graph on one device."""

    def __init__(
        self,
        session: Session,
        feeder: Feeder,
        reading: Reading,
        *,
        runs_on: RunsOn,
        open_again: Callable[[], Session],
        is_out_of_memory: Callable[[Exception], bool],
        alone: bool,
        max_batch_tokens: int,
    ) -> None:
        self.padded = not alone
        self.max_batch_tokens = max_batch_tokens
        self.runs_on = runs_on
        self._open_again, self._is_out_of_memory = open_again, is_out_of_memory
        self._feeder, self._reading = feeder, reading
        self._session: Session | None = session
        self._closed = False
        renew_in_child(self)

    def renew(self) -> None:
        """
        Begin anew in a forked child, whose copy of the session has no threads, and perhaps locks that nobody opens.

        To free that copy would be to wait for its threads, so it must outlive everything.
        """
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None

    def run(self, batch: Batch) -> Outputs:
        """Read each sequence of the batch."""
        try:
            session = self._session_here()
            batches = [batch] if self.padded else batch.apart()
            return np.concatenate([read(session, self._feeder, self._reading, batch=each) for each in batches])
        except Exception as error:
            if not self._is_out_of_memory(error):
                raise
            message = str(error)
        # only here, outside the handler, is the memory of the failed pass given up
        raise OutOfMemory(message)

    def close(self) -> None:
        """Forget the graph and give its memory back."""
        self._closed = True
        self._session = None

    def _session_here(self) -> Session:
        """Return the session; a new one in a forked child."""
        assert not self._closed, "a closed backend was run. This is a bug."
        if self._session is None:
            self._session = self._open_again()
        return self._session


def read(session: Session, feeder: Feeder, reading: Reading, *, batch: Batch) -> Outputs:
    """Run one batch through a graph: (sequences, width)."""
    feed, lengths = feeder.lay_out(batch)
    return reading.rows(session.run(reading.output, feed), lengths)
