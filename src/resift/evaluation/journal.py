"""Answers that are written down as they come, so that an evaluation that was interrupted goes on where it was."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from resift.errors import InvalidInput
from resift.evaluation.asking import Answer
from resift.evaluation.files import using
from resift.evaluation.memory import NO_PEAK, Peak
from resift.evaluation.runs import Listing
from resift.wire.strict_json import NotJson, read_json, write_json

_FORMAT, _VERSION = "resift-answers", 1
_FIRST_BYTES = write_json({"format": _FORMAT})[:-1]


@dataclass(slots=True)
class Session:
    """The answers of one stretch of work that was not interrupted, and under which conditions it was done."""

    conditions: Mapping[str, Any]
    answers: dict[str, Answer]
    peak: Peak = NO_PEAK


class Journal:
    """The answers of one ranker to the questions of one collection; in memory only where there is no path."""

    def __init__(self, path: Path | None, *, about: str, resume: bool = True) -> None:
        """
        Open a journal, with what earlier sessions wrote.

        Args:
            path: the file; its folder is made.
            about: what the answers depend on. A journal about something else is an `InvalidInput`.
            resume: whether to read what is there; without, it is written over, if it is a journal.
        """
        self._path = path
        self._head = {"format": _FORMAT, "version": _VERSION, "about": about}
        self._file: IO[bytes] | None = None
        self._whole = 0
        """How many bytes of the file are lines that were finished."""

        self.sessions: list[Session] = []
        if path is not None and path.exists():
            self._read(path, resume=resume)

    @property
    def answers(self) -> dict[str, Answer]:
        """All answers by query."""
        return {query: answer for session in self.sessions for query, answer in session.answers.items()}

    def begin(self, conditions: Mapping[str, Any]) -> None:
        """Begin a session."""
        self.sessions.append(Session(conditions, {}))
        if self._path is not None:
            with using(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab")
                self._file.truncate(self._whole)  # a last line that a crash left unfinished
            if not self._whole:
                self._write(self._head)
        self._write({"session": time.time_ns(), "conditions": dict(conditions)})

    def note(self, answer: Answer) -> None:
        """Write down an answer."""
        self.sessions[-1].answers[answer.query] = answer
        self._write(_written(answer))

    def end(self, *, peak: Peak) -> None:
        """Write down that nothing is left to ask."""
        self.sessions[-1].peak = peak
        self._write({"peak_bytes": peak.process_bytes, "peak_gpu_bytes": peak.gpu_bytes})

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is not None and self._path is not None:
            with using(self._path):
                self._file.write(write_json(line) + b"\n")
                self._file.flush()  # what comes after a crash begins where this ended

    def _read(self, path: Path, *, resume: bool) -> None:
        with using(path):
            content = path.read_bytes()
        if not resume and content.startswith(_FIRST_BYTES):
            return  # the first session writes over it
        self._whole = content.rfind(b"\n") + 1
        if not self._whole and write_json(self._head).startswith(content):
            return  # the very first line was not finished
        lines = _lines(path, content[: self._whole] or content + b"\n")
        head = next(lines)
        if head != self._head:
            raise InvalidInput(_not_ours(path, head))
        try:
            for line in lines:
                self._take(line)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise InvalidInput(f"{path} is damaged; delete it, and its queries are asked anew") from None

    def _take(self, line: Any) -> None:
        if "session" in line:
            self.sessions.append(Session(line["conditions"], {}))
        elif "peak_bytes" in line:
            self.sessions[-1].peak = Peak(line["peak_bytes"], line.get("peak_gpu_bytes"))
        else:
            answer = _read_answer(line)
            self.sessions[-1].answers[answer.query] = answer


def _written(answer: Answer) -> dict[str, Any]:
    return {
        "query": answer.query,
        "documents": answer.listing.documents,
        "scores": answer.listing.scores,
        "left_out": answer.left_out,
        "truncated": answer.truncated,
        "tokens": answer.tokens,
        "begins_s": answer.begins_s,
        "takes_s": answer.takes_s,
    }


def _read_answer(line: Mapping[str, Any]) -> Answer:
    return Answer(
        query=line["query"],
        listing=Listing.by_score(line["documents"], map(float, line["scores"])),
        left_out=line["left_out"],
        truncated=line["truncated"],
        tokens=line["tokens"],
        begins_s=line["begins_s"],
        takes_s=line["takes_s"],
    )


def _lines(path: Path, content: bytes) -> Iterator[Any]:
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            yield read_json(line)
        except NotJson as error:
            raise InvalidInput(f"{path}:{number} is damaged ({error}); delete the file to ask anew") from None


def _not_ours(path: Path, head: Any) -> str:
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        return f"{path} is no journal of answers; choose another directory"
    if head.get("version") != _VERSION:
        return f"{path} was written by another version of resift; choose another directory, or delete it"
    return (
        f"{path} holds answers to other questions, or of a ranker with other settings; choose another directory, or "
        "ask all anew (resume=False, --fresh)"
    )
