"""A ranker as sentence-transformers' evaluators and BEIR ask for it: `predict(pairs)`."""

from collections.abc import Sequence

from resift.errors import InvalidInput
from resift.evaluation.elsewhere.pairs import Pair, Scores, score_pairs
from resift.types import Ranker


class PairPredictor:
    """
    Any ranker in the shape of a sentence-transformers `CrossEncoder`.

    >>> import resift
    >>> model = PairPredictor(resift.load())
    >>> model.predict([("panda", "The giant panda."), ("panda", "Paris.")]).argmax().item()
    0
    """

    num_labels = 1

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self.model_card_data = _ModelCard()

    def __repr__(self) -> str:
        return f"PairPredictor({self._ranker!r})"

    def predict(
        self,
        sentences: Sequence[Pair],
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - the order is sentence-transformers' own
        *,
        prompt_name: None = None,
        prompt: str | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Scores:
        """
        Return one score per pair, in their order.

        `prompt` is the instruction. `batch_size` changes nothing, because batches are made of tokens here.
        """
        if convert_to_tensor or not convert_to_numpy:
            raise InvalidInput("scores come as one numpy array; leave convert_to_tensor and convert_to_numpy out")
        if prompt_name is not None:
            raise InvalidInput(f"prompt_name={prompt_name!r} names no prompt here; write it out as prompt=")
        return score_pairs(self._ranker, sentences, instruction=prompt, progress=bool(show_progress_bar))


class _ModelCard:
    """What sentence-transformers' evaluators leave their results with; nobody reads them here."""

    def set_evaluation_metrics(self, *_: object, **__: object) -> None:
        """Let the results pass: the evaluator returns them as well."""
