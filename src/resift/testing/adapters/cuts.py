"""Which part of a ranking an adapter keeps: scores from the threshold up, then the best `top_n`."""

from resift.testing.adapters.hooks import TEXTS, AdapterHooks
from resift.testing.fake_ranker import FakeRanker

_SCORES = dict(zip(TEXTS, (-1.0, 2.0, 1.0, 0.0, -0.5, 1.5), strict=True))
_ORDER = [1, 5, 2, 3, 4, 0]


def _ranker() -> FakeRanker:
    """Return a ranker that puts the texts into `_ORDER`, with the scores 2, 1.5, 1, 0, -0.5, -1."""
    return FakeRanker(scorer=lambda query, text, instruction: _SCORES[text])


class Cuts(AdapterHooks):
    """The promises about `top_n` and the threshold."""

    def test_top_n_keeps_the_best(self) -> None:
        """`top_n` keeps the head of the whole order; None, and more than there are, keep all."""
        self.needs("ranker", "top_n")
        for top_n in (1, 2, 6, 7, 1000, None):
            places = self.asked({"ranker": _ranker(), "top_n": top_n})
            assert [at for at, _ in places] == _ORDER[:top_n], f"top_n={top_n}"

    def test_a_top_n_below_1_is_refused(self) -> None:
        """To keep nothing, or less, cannot be meant; 0 is not taken for all."""
        self.needs("ranker", "top_n")
        for top_n in (0, -1):
            self.refused({"ranker": _ranker(), "top_n": top_n})

    def test_top_n_may_be_given_at_the_call(self) -> None:
        """`top_n` of one call comes before that of the component; None leaves that as it is, and 0 is refused."""
        self.needs("ranker", "top_n")
        self.needs_override("top_n")
        for made, given, count in ((2, 4, 4), (4, 2, 2), (2, None, 2), (None, 3, 3), (2, 1000, 6)):
            places = self.asked({"ranker": _ranker(), "top_n": made}, top_n=given)
            assert [at for at, _ in places] == _ORDER[:count], f"made with {made}, called with {given}"
        for given in (0, -1):
            self.refused({"ranker": _ranker(), "top_n": 2}, top_n=given)

    def test_a_call_changes_no_settings(self) -> None:
        """What was given at one call does not hold for the next."""
        self.needs("ranker", "top_n")
        self.needs_override("top_n")
        component = self.make(ranker=_ranker(), top_n=3)

        for given, count in ((1, 1), (None, 3), (5, 5), (None, 3)):
            assert len(self.both(component, "q", top_n=given)) == count, f"made with 3, called with {given}"

    def test_a_threshold_is_inclusive(self) -> None:
        """A threshold keeps the scores that are at least as high, one that is just as high among them."""
        self.needs("ranker", "threshold")
        for threshold, count in ((2.0, 1), (1.75, 1), (1.0, 3), (-0.5, 5), (-1.0, 6), (-9.0, 6), (None, 6)):
            places = self.asked({"ranker": _ranker(), "threshold": threshold})
            assert [at for at, _ in places] == _ORDER[:count], f"threshold={threshold}"

    def test_a_threshold_of_0_is_one(self) -> None:
        """The threshold 0.0 keeps the scores from 0 up; it is not taken for none."""
        self.needs("ranker", "threshold")

        assert [at for at, _ in self.asked({"ranker": _ranker(), "threshold": 0.0})] == _ORDER[:4]

    def test_a_threshold_may_leave_nothing(self) -> None:
        """Where every score is too low nothing is left."""
        self.needs("ranker", "threshold")

        assert self.asked({"ranker": _ranker(), "threshold": 2.5}) == []

    def test_a_threshold_and_top_n_both_count(self) -> None:
        """Where both are given, `top_n` counts among the documents that the threshold keeps."""
        self.needs("ranker", "threshold", "top_n")
        for threshold, top_n, count in ((0.0, 2, 2), (1.0, 5, 3), (2.5, 3, 0)):
            places = self.asked({"ranker": _ranker(), "threshold": threshold, "top_n": top_n})
            assert [at for at, _ in places] == _ORDER[:count], f"threshold={threshold}, top_n={top_n}"

    def test_a_threshold_may_be_given_at_the_call(self) -> None:
        """A threshold of one call comes before that of the component, 0.0 too; None leaves that as it is."""
        self.needs("ranker", "threshold")
        self.needs_override("threshold")
        for made, given, count in ((1.5, 0.0, 4), (0.0, 1.5, 2), (1.5, None, 2), (None, 0.0, 4)):
            places = self.asked({"ranker": _ranker(), "threshold": made}, threshold=given)
            assert [at for at, _ in places] == _ORDER[:count], f"made with {made}, called with {given}"

    def test_a_threshold_is_a_number(self) -> None:
        """NaN, which nothing is above or below, is refused."""
        self.needs("ranker", "threshold")
        self.refused({"ranker": _ranker(), "threshold": float("nan")})
