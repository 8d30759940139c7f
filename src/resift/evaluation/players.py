"""Who takes part: rankers, runs of others, and rankers that are opened for their turn only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from resift.errors import InvalidInput
from resift.evaluation.evaluation import file_name
from resift.evaluation.record import FIRST_STAGE, ORACLE
from resift.evaluation.runs import Run
from resift.types import Ranker

Opens: TypeAlias = Callable[[], Ranker]
Player: TypeAlias = Ranker | Run | Opens


def read_players(given: Mapping[str, Player]) -> dict[str, Player]:
    """Return who takes part by name, or say who cannot."""
    if not isinstance(given, Mapping):
        raise InvalidInput(f"contestants must be rankers by name, as in {{'mine': ranker}}, not {type(given).__name__}")
    for name, player in given.items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidInput(f"a contestant needs a name, not {name!r}")
        if isinstance(player, type) or not (isinstance(player, Run | Ranker) or callable(player)):
            raise InvalidInput(f"the contestant {name!r} must be a ranker or a run, not {type(player).__name__}")
    require_files_apart("contestants", [FIRST_STAGE, ORACLE, *given])
    return dict(given)


@contextmanager
def on_the_field(player: Player) -> Iterator[Ranker | Run]:
    """Give the ranker or the run itself; a ranker that was opened for this is closed after it."""
    if isinstance(player, Run | Ranker):
        yield player
        return
    ranker = player()
    try:
        yield ranker
    finally:
        ranker.close()


def require_files_apart(what: str, names: Sequence[str]) -> None:
    """Refuse names that some file system takes for one."""
    taken: dict[str, str] = {}
    for name in names:
        as_file = file_name(name).casefold()
        if as_file in taken:
            raise InvalidInput(
                f"the {what} {taken[as_file]!r} and {name!r} need names that differ in letters or digits"
            )
        taken[as_file] = name
