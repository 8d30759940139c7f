"""The doors to an endpoint, `connect` and `open`: what they take, and what they say to what they do not."""

import asyncio
import copy
import dataclasses
import inspect
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants

import resift
import tiny
from fake_hub import FakeHub
from resift.errors import InvalidInput
from resift.remote.key import Secret, read_headers, read_key
from resift.remote.limiter import Limiter
from resift.types import Described, Ranker
from scripted_server import ScriptedServer

URL = "http://127.0.0.1:9"
KEY = "sk-1234567890abcdef"


# connect


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model must be the name"),
        ({"model": 7}, "model must be the name"),
        ({"dialect": "cohear"}, "did you mean 'cohere'"),
        ({"timeout_s": 0}, "timeout_s must be a number of seconds above 0, not 0"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"timeout_s": None}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0 up, not -1"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_concurrency": 0}, "max_concurrency must be a whole number from 1 up"),
        ({"max_documents_per_request": 0}, "max_documents_per_request"),
        ({"normalize": "yes"}, "normalize"),
        ({"normalize": True}, "scores='logits'"),
        ({"normalize": False}, "scores="),
        ({"scores": "sigmoid"}, "scores must be"),
        ({"instruction": 7}, "instruction must be a str"),
        ({"instruction": "find", "dialect": "tei"}, "no place for an instruction"),
        ({"fields": "title"}, "fields must be a list"),
        ({"fields": []}, "fields names no field"),
        ({"http_client": "http://127.0.0.1"}, "http_client must be a Client or AsyncClient"),
        ({"dialect": "deepinfra"}, "model=..."),
        ({"headers": ["x-a"]}, "headers must be a mapping"),
        ({"headers": {"x a": "b"}}, "no header's name"),
        ({"headers": {"x-a": 7}}, "headers['x-a'] must be a str"),
        ({"headers": {"Content-Length": "7"}}, "headers cannot set 'Content-Length'"),
        ({"api_key": 7}, "api_key must be a str"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    """A bad argument is refused when connecting, by its name, with what to do."""
    with pytest.raises(InvalidInput) as caught:
        resift.connect(URL, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://u:hunter2@h", "http://h?key=hunter2"],
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    """An address that cannot be asked is refused; what may be a secret in it is not repeated."""
    with pytest.raises(InvalidInput, match="base_url") as caught:
        resift.connect(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-a\r\nX-Evil: 1", "sk-a\n", " sk-a", "sk-ключ", "sk-\0", "sk-\u2028a"])
def test_c3_a_key_that_no_header_can_carry_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with line breaks or foreign letters is refused here, from wherever it comes, and is not shown."""
    monkeypatch.setenv("RESIFT_API_KEY", key.replace("\0", "\n"))
    for options in ({"api_key": key}, {"headers": {"authorization": key}, "api_key": ""}, {}):
        with pytest.raises(InvalidInput, match=r"api_key|authorization|RESIFT_API_KEY") as caught:
            resift.connect(URL, **options)
        assert "sk-" not in str(caught.value)


def test_connecting_touches_no_network() -> None:
    """An endpoint that is not there is found out by the first call, not before."""
    with resift.connect("https://endpoint.invalid", model="m", api_key=KEY) as ranker:
        assert repr(ranker) == "RemoteRanker('m', 'https://endpoint.invalid')"


# secrets


def test_c3_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    """No way to print, dump, copy or pickle a secret shows it; `reveal` does."""
    secret = Secret(KEY)

    @dataclasses.dataclass
    class Holder:
        key: Secret

    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr(dataclasses.asdict(Holder(secret)))]
    shown += [repr(copy.copy(secret)), repr(copy.deepcopy([secret])), repr(inspect.getmembers(secret))]
    assert not [text for text in shown if KEY in text]
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == copy.deepcopy(secret).reveal() == KEY
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(InvalidInput):
            pickle.dumps(secret, protocol)


def test_c3_keys_come_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins, the environment is next, and an empty one is none."""
    monkeypatch.setenv("RESIFT_API_KEY", "theirs")
    assert read_key("ours").reveal() == "ours"  # type: ignore[union-attr]
    assert read_key(None).reveal() == "theirs"  # type: ignore[union-attr]
    assert read_key("") is None
    monkeypatch.setenv("RESIFT_API_KEY", "")
    assert read_key(None) is None


def test_header_values_may_be_latin() -> None:
    """What a header can carry is taken, empty values and accents included."""
    ((name, value), (_, empty)) = read_headers({"X-Team": "Zürich\tWest", "X-None": ""})
    assert (name, value.reveal(), empty.reveal()) == ("X-Team", "Zürich\tWest", "")


def test_headers_go_along_and_may_replace_ours() -> None:
    """A caller's headers are sent with every request; the dialect's own follow its table."""
    with ScriptedServer() as server:
        with resift.connect(server.url, headers={"X-Team": "a", "user-agent": "mine"}, api_key=KEY) as ranker:
            ranker.score("q", ["x"])
        sent = server.requests[0].headers
    assert (sent["x-team"], sent["user-agent"], sent["authorization"]) == ("a", "mine", f"Bearer {KEY}")
    assert sent["content-type"] == sent["accept"] == "application/json"


# open


def test_open_with_base_url_connects() -> None:
    """`open` is what frameworks call: with an address it connects, without one it loads."""
    with resift.open("m", base_url=URL, timeout_s=3) as there:
        assert isinstance(there, resift.RemoteRanker)
        assert there.model == "m"
    with resift.open(base_url=URL) as nameless:
        assert nameless.model == "127.0.0.1:9"
    with resift.open("lexical", normalize=True) as here:
        assert isinstance(here, resift.LocalRanker)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dvice": "cpu"}, "did you mean 'device'"),
        ({"api_kee": "x"}, "there is no option 'api_kee'"),
        ({"api_key": "x"}, "'api_key' is for endpoints only; connect with base_url=..."),
        ({"base_url": URL, "device": "cpu"}, "'device' is for models that run here only"),
        ({"base_url": URL, "api_kee": "x"}, "did you mean 'api_key'"),
        ({"base_url": URL, "zzz": 1}, "there are api_key, dialect"),
    ],
)
def test_open_names_the_right_option(options: dict[str, Any], said: str) -> None:
    """An option that does not exist, or belongs to the other kind of ranker, is refused with the right one."""
    with pytest.raises(InvalidInput) as caught:
        resift.open("m", **options)
    assert said in str(caught.value)


def test_open_takes_the_options_of_both() -> None:
    """Every option of `load` and of `connect` can be given to `open`."""
    connecting = set(inspect.signature(resift.connect).parameters) - {"base_url", "model"}
    loading = set(inspect.signature(resift.load).parameters) - {"model"}
    for option in connecting - loading:
        with pytest.raises(InvalidInput, match="for endpoints only"):
            resift.open("m", **{option: None})
    for option in loading - connecting:
        with pytest.raises(InvalidInput, match="for models that run here only"):
            resift.open("m", base_url=URL, **{option: None})


# what rankers say of themselves


def test_a_local_ranker_describes_itself(tmp_path: Path) -> None:
    """Its identity is one line that changes with the files and with every setting that changes scores."""
    model = tiny.build("bert-cross", tmp_path / "model")
    with resift.load(model, max_length=64) as ranker:
        assert isinstance(ranker, Described)
        assert isinstance(ranker, Ranker)
        assert (ranker.listwise, ranker.takes_instruction, ranker.max_length) == (False, False, 64)
        first = ranker.identity
        assert "\n" not in first
        with resift.load(model, max_length=64, max_batch_tokens=128) as same:
            assert same.identity == first
        with resift.load(model, max_length=32) as shorter, resift.load(model, max_length=64, normalize=True) as other:
            assert len({first, shorter.identity, other.identity}) == 3
        assert ranker.workload.batches == 0
        ranker.score("q", ["x"])
        assert ranker.workload.batches == 1
    (model / "config.json").touch()
    with resift.load(model, max_length=64) as touched:
        assert touched.identity != first


def test_the_identity_of_a_hub_model_names_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a branch points to may change, so the identity holds the commit that was really read."""
    model = tiny.build("bert-cross", tmp_path / "model")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FakeHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
        commit = hub.publish("acme/reranker", {file.name: file.read_bytes() for file in model.iterdir()})
        with resift.load("acme/reranker", cache_dir=tmp_path / "cache") as ranker:
            assert f'"state": "{commit}"' in ranker.identity


def test_the_built_in_scorer_describes_itself() -> None:
    """It judges documents by each other, knows no limit and takes no instruction."""
    with resift.load() as ranker:
        assert (ranker.listwise, ranker.takes_instruction, ranker.max_length) == (True, False, None)
        assert '"model": "lexical"' in ranker.identity


# the limiter


async def test_c31_turns_are_given_in_order() -> None:
    """Whoever waits longest is next, and a turn that is given up goes to the next."""
    limiter, order = Limiter(1), []

    async def take(name: str) -> None:
        async with limiter.slot():
            order.append(name)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(take(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c", "d"]


async def test_c31_one_wave_of_refusals_halves_once() -> None:
    """Requests that were under way together count as one word of the endpoint; later ones count anew."""
    limiter = Limiter(8)
    async with limiter.slot() as first, limiter.slot() as second:
        first.heard(429)
        second.heard(429)
    assert limiter.bound == 4
    time.sleep(0.002)  # noqa: ASYNC251 - the clock has to move
    async with limiter.slot() as third:
        third.heard(429)
    assert limiter.bound == 2
    for _ in range(100):
        async with limiter.slot() as later:
            later.heard(503)
    assert limiter.bound == 2
    for _ in range(100):
        async with limiter.slot() as later:
            later.heard(200)
    assert limiter.bound == 8


def test_c31_turns_pass_between_event_loops() -> None:
    """Loops in several threads share one bound."""
    limiter, busy, most = Limiter(2), 0, 0
    lock = threading.Lock()

    async def work() -> None:
        nonlocal busy, most
        for _ in range(20):
            async with limiter.slot():
                with lock:
                    busy += 1
                    most = max(most, busy)
                await asyncio.sleep(0.001)
                with lock:
                    busy -= 1

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert (busy, most) == (0, 2)


def test_a_client_is_told_from_what_is_none() -> None:
    """Sync and async clients are both taken."""
    with httpx2.Client() as client, resift.connect(URL, http_client=client) as ranker:
        assert ranker.model == "127.0.0.1:9"
