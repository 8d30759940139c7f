"""What an adapter keeps to itself: the key, wherever a component is shown, written down, copied or fails."""

import copy
import logging
import os
import pickle
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from resift.testing.adapters.hooks import QUERY, TEXTS, AdapterHooks, AdapterSettings
from resift.testing.loopback import LoopbackEndpoint
from resift.testing.watching import logged, raises
from resift.testing.ways import run

_KEY, _ANOTHER = "sk-contract-0123456789abcdef", "sk-environment-fedcba9876543210"


class Secrets(AdapterHooks):
    """The promises about keys."""

    def test_the_key_is_shown_to_the_endpoint(self) -> None:
        """The endpoint gets the key that the component was given."""
        self.needs("base_url", "api_key")
        with LoopbackEndpoint() as endpoint:
            self.asked(_settings(endpoint))

        assert endpoint.authorizations == [f"Bearer {_KEY}"] * 2

    def test_no_key_is_needed(self) -> None:
        """Where there is neither a key nor an environment variable with one, none is sent."""
        self.needs("base_url")
        with LoopbackEndpoint() as endpoint, _environment(None):
            self.asked({"model": "m", "base_url": endpoint.url})

        assert endpoint.authorizations == ["", ""]

    def test_the_key_may_come_from_the_environment(self) -> None:
        """Where no key is given, that of RESIFT_API_KEY is sent."""
        self.needs("base_url")
        with LoopbackEndpoint() as endpoint, _environment(_ANOTHER):
            self.asked({"model": "m", "base_url": endpoint.url})

        assert endpoint.authorizations == [f"Bearer {_ANOTHER}"] * 2

    def test_the_key_is_never_written_down(self) -> None:
        """Neither `repr` nor `str`, pickle or what the framework itself writes holds the key, used or not."""
        self.needs("base_url", "api_key")
        with LoopbackEndpoint() as endpoint:
            component = self.make(**_settings(endpoint))
            self._require_hidden(component)
            self.both(component, QUERY)
            self._require_hidden(component)
            self.close(component)

    def test_the_key_is_in_no_error(self) -> None:
        """Not even where the endpoint quotes it in its refusal."""
        self.needs("base_url", "api_key")
        with LoopbackEndpoint(refuses=True) as endpoint:
            component = self.make(**_settings(endpoint))
            with raises(Exception, by="a refusal") as raised:
                self.rerank(component, QUERY, TEXTS)
            with raises(Exception, by="a refusal") as later:
                run(self.arerank(component, QUERY, TEXTS))

        assert len(endpoint.authorizations) == 2, "the endpoint was not asked"
        for error in (raised.error, later.error):
            assert not [line for line in traceback.format_exception(error) if _KEY in line]
            assert _KEY not in repr(error)

    def test_the_key_is_in_no_log(self) -> None:
        """No logger writes the key at any level, whether the endpoint answers, refuses or is passed over."""
        self.needs("base_url", "api_key")
        with logged(logging.DEBUG) as lines:
            with LoopbackEndpoint() as endpoint:
                self.asked(_settings(endpoint))
            if "on_error" not in self.lacks:
                with LoopbackEndpoint(refuses=True) as endpoint:
                    self.asked({**_settings(endpoint), "on_error": "pass"})

        assert not [line for line in lines if _KEY in line]

    def test_a_copy_keeps_the_key(self) -> None:
        """`copy.deepcopy` makes a component that reaches the same endpoint."""
        self.needs("base_url", "api_key")
        with LoopbackEndpoint() as endpoint, _environment(None):
            copied = copy.deepcopy(self.make(**_settings(endpoint)))
            self.both(copied, QUERY)
            self.close(copied)

        assert endpoint.authorizations == [f"Bearer {_KEY}"] * 2

    def test_an_unpickled_one_finds_a_key_in_the_environment(self) -> None:
        """As a pickle holds no key, where it is unpickled that of RESIFT_API_KEY is sent."""
        self.needs("base_url", "api_key")
        with LoopbackEndpoint() as endpoint:
            pickled = pickle.dumps(self.make(**_settings(endpoint)))
            with _environment(_ANOTHER):
                component = pickle.loads(pickled)  # noqa: S301 - it was pickled right here
                self.both(component, QUERY)
                self.close(component)

        assert endpoint.authorizations == [f"Bearer {_ANOTHER}"] * 2

    def _require_hidden(self, component: Any) -> None:
        for form in (repr(component), str(component), pickle.dumps(component), *self.written(component)):
            written = form.encode() if isinstance(form, str) else form
            assert _KEY.encode() not in written


def _settings(endpoint: LoopbackEndpoint) -> AdapterSettings:
    return {"model": "m", "base_url": endpoint.url, "api_key": _KEY}


@contextmanager
def _environment(key: str | None) -> Iterator[None]:
    """Let RESIFT_API_KEY be this, or nothing."""
    with patch.dict(os.environ):
        os.environ.pop("RESIFT_API_KEY", None)
        if key is not None:
            os.environ["RESIFT_API_KEY"] = key
        yield
