"""Which dialect is spoken where, and to which address."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import InvalidInput
from resift.remote.dialects import DIALECTS, Dialect, choose, routes


def _urls(base_url: str, dialect: str = "auto", model: str | None = "m") -> list[str]:
    return list(routes(choose(dialect, base_url), base_url, model))


# C1


@pytest.mark.parametrize("base_url", ["http://h:80", "http://h:80/", "http://h:80//"])
def test_c1_a_host_is_asked_at_both_usual_routes(base_url: str) -> None:
    """Below a bare host the flat shape is tried on /v1/rerank, then on /rerank."""
    assert _urls(base_url) == ["http://h:80/v1/rerank", "http://h:80/rerank"]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://h:80/v1", "http://h:80/v1/rerank"),
        ("http://h:80/v1/", "http://h:80/v1/rerank"),
        ("http://h:80/v1/rerank", "http://h:80/v1/rerank"),
        ("http://h:80/v1/rerank/", "http://h:80/v1/rerank"),
        ("http://h:80/rerank", "http://h:80/rerank"),
        ("http://h:80/v2", "http://h:80/v2/rerank"),
        ("http://h:80/api/v1", "http://h:80/api/v1/rerank"),
        ("http://h:80/api//v1", "http://h:80/api/v1/rerank"),
        ("http://h:80/v1beta", "http://h:80/v1beta/rerank"),
        ("http://h:80/v1/reranking", "http://h:80/v1/reranking"),
        ("http://h:80/compatible-api/v1/reranks", "http://h:80/compatible-api/v1/reranks"),
        ("HTTP://h:80/v1", "http://h:80/v1/rerank"),
        ("http://h:/v1", "http://h/v1/rerank"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1/rerank"),
        ("https://h/team/v1", "https://h/team/v1/rerank"),
    ],
)
def test_c1_a_base_that_names_its_version_or_route_gives_one_address(base_url: str, url: str) -> None:
    """No version is said twice, no slash is doubled, and a whole route is taken as it is."""
    assert _urls(base_url, "openai") == [url]


def test_c1_a_gateway_keeps_its_prefix() -> None:
    """Routes are looked for below a path that says nothing of versions."""
    assert _urls("http://h/team/") == ["http://h/team/v1/rerank", "http://h/team/rerank"]


@given(st.lists(st.sampled_from(["v1", "v2", "api", "rerank", "x", ""]), max_size=4), st.sampled_from(sorted(DIALECTS)))
def test_c1_no_address_says_anything_twice(path: list[str], dialect: str) -> None:
    """Whatever the base, no slash is doubled, a version at its end is the last one, and no address comes twice."""
    parts = [part for part in path if part]
    urls = _urls("/".join(["http://h", *path]), dialect)

    assert len(set(urls)) == len(urls)
    for url in urls:
        said = url.removeprefix("http://h/").split("/")
        assert "" not in said
        assert said[: len(parts)] == parts
        if parts and parts[-1] in ("v1", "v2"):
            assert not {"v1", "v2"} & set(said[len(parts) :])


# d11: the routes of the dialects


@pytest.mark.parametrize(
    ("base_url", "dialect", "url"),
    [
        ("http://h", "cohere", "http://h/v2/rerank"),
        ("http://h/v1", "cohere", "http://h/v1/rerank"),
        ("http://h", "voyage", "http://h/v1/rerank"),
        ("http://h", "mixedbread", "http://h/v1/reranking"),
        ("http://h/v1", "mixedbread", "http://h/v1/reranking"),
        ("http://h", "tei", "http://h/rerank"),
        ("http://h/tei", "tei", "http://h/tei/rerank"),
        ("http://h", "nvidia", "http://h/v1/ranking"),
        ("http://h/v1", "nvidia", "http://h/v1/ranking"),
        ("http://h", "pinecone", "http://h/rerank"),
        ("http://h", "dashscope", "http://h/api/v1/services/rerank/text-rerank/text-rerank"),
        ("http://h/api/v1", "dashscope", "http://h/api/v1/services/rerank/text-rerank/text-rerank"),
        ("http://h/api/v1/services/rerank", "dashscope", "http://h/api/v1/services/rerank/text-rerank/text-rerank"),
        ("http://h", "deepinfra", "http://h/v1/inference/org/m"),
        ("http://h/v1/inference", "deepinfra", "http://h/v1/inference/org/m"),
        ("http://h/v1/inference/other/n", "deepinfra", "http://h/v1/inference/other/n"),
        ("http://h", "resift", "http://h/v1/rerank"),
    ],
)
def test_d11_each_dialect_knows_its_route(base_url: str, dialect: str, url: str) -> None:
    """A dialect's own path follows the base, less what the base says already."""
    assert _urls(base_url, dialect, "org/m") == [url]


@pytest.mark.parametrize(
    ("base_url", "name", "url"),
    [
        ("https://api.cohere.com", "cohere", "https://api.cohere.com/v2/rerank"),
        ("https://api.cohere.ai/v2", "cohere", "https://api.cohere.ai/v2/rerank"),
        ("https://API.Cohere.com", "cohere", "https://API.Cohere.com/v2/rerank"),
        ("https://api.cohere.com./v2", "cohere", "https://api.cohere.com./v2/rerank"),
        ("https://api.jina.ai/v1", "openai", "https://api.jina.ai/v1/rerank"),
        ("https://api.jina.ai", "openai", "https://api.jina.ai/v1/rerank"),
        ("https://api.voyageai.com/v1", "voyage", "https://api.voyageai.com/v1/rerank"),
        ("https://ai.mongodb.com/v1", "voyage", "https://ai.mongodb.com/v1/rerank"),
        ("https://api.mixedbread.com", "mixedbread", "https://api.mixedbread.com/v1/reranking"),
        ("https://api.mixedbread.ai", "mixedbread", "https://api.mixedbread.ai/v1/reranking"),
        ("https://api.pinecone.io", "pinecone", "https://api.pinecone.io/rerank"),
        (
            "https://dashscope.aliyuncs.com",
            "dashscope",
            "https://dashscope.aliyuncs.com/api/v1/services/rerank/text-rerank/text-rerank",
        ),
        (
            "https://dashscope-intl.aliyuncs.com/compatible-api/v1",
            "openai",
            "https://dashscope-intl.aliyuncs.com/compatible-api/v1/reranks",
        ),
        (
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "openai",
            "https://dashscope.aliyuncs.com/compatible-api/v1/reranks",
        ),
        ("https://api.deepinfra.com", "deepinfra", "https://api.deepinfra.com/v1/inference/org/m-1.5"),
        ("https://api.deepinfra.com/v1/openai", "deepinfra", "https://api.deepinfra.com/v1/inference/org/m-1.5"),
        ("https://ai.api.nvidia.com", "nvidia", "https://ai.api.nvidia.com/v1/retrieval/org/m-1_5/reranking"),
        ("https://ai.api.nvidia.com/v1", "nvidia", "https://ai.api.nvidia.com/v1/retrieval/org/m-1_5/reranking"),
        (
            "https://ai.api.nvidia.com/v1/retrieval/nvidia/reranking",
            "nvidia",
            "https://ai.api.nvidia.com/v1/retrieval/nvidia/reranking",
        ),
        ("https://integrate.api.nvidia.com/v1", "nvidia", "https://integrate.api.nvidia.com/v1/ranking"),
        ("https://api.siliconflow.cn", "openai", "https://api.siliconflow.cn/v1/rerank"),
        ("https://api.ap.siliconflow.com/v1", "openai", "https://api.ap.siliconflow.com/v1/rerank"),
        ("https://api.together.xyz/v1", "openai", "https://api.together.xyz/v1/rerank"),
        ("https://openrouter.ai", "openai", "https://openrouter.ai/api/v1/rerank"),
        ("https://openrouter.ai/api/v1", "openai", "https://openrouter.ai/api/v1/rerank"),
        ("https://api.fireworks.ai/inference/v1", "openai", "https://api.fireworks.ai/inference/v1/rerank"),
        ("https://api.novita.ai", "openai", "https://api.novita.ai/openai/v1/rerank"),
    ],
)
def test_known_hosts_need_no_dialect(base_url: str, name: str, url: str) -> None:
    """A vendor's host says which dialect is spoken there, and where."""
    assert choose("auto", base_url).name == name
    assert _urls(base_url, "auto", "org/m-1.5") == [url]


@pytest.mark.parametrize(
    "base_url",
    ["https://api.cohere.com.evil.example", "https://xapi.cohere.com", "https://x.cn-hangzhou.pai-eas.aliyuncs.com"],
)
def test_a_host_that_only_looks_known_is_not(base_url: str) -> None:
    """Whole host names decide, not parts of them."""
    assert choose("auto", base_url) is DIALECTS["openai"]


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("http://h/v1/ranking", "nvidia"),
        ("http://h/v1/retrieval/org/m/reranking", "nvidia"),
        ("http://h/api/v1/services/rerank/text-rerank/text-rerank", "dashscope"),
        ("http://h/v1/inference/org/m", "deepinfra"),
        ("http://h/v1/reranking", "openai"),
        ("http://h/v2/rerank", "openai"),
        ("http://h:8080/rerank", "openai"),
        ("http://h", "openai"),
    ],
)
def test_a_telling_route_says_which_dialect_is_spoken(base_url: str, name: str) -> None:
    """On an unknown host only a route that nobody else has is taken for a dialect."""
    assert choose("auto", base_url) is DIALECTS[name]


def test_what_is_known_of_a_host_holds_if_its_dialect_is_named() -> None:
    """Saying what would be found out changes nothing; saying something else is believed."""
    assert choose("openai", "https://api.jina.ai") == choose("auto", "https://api.jina.ai")
    assert choose("nvidia", "https://ai.api.nvidia.com").dotless
    assert choose("openai", "https://api.cohere.com") is DIALECTS["openai"]


# what each dialect declares


@pytest.mark.parametrize(
    ("name", "scale", "most"),
    [
        ("openai", "unknown", 1000),
        ("cohere", "probabilities", 1000),
        ("voyage", "probabilities", 1000),
        ("mixedbread", "unknown", None),
        ("tei", "probabilities", 32),
        ("nvidia", "logits", 512),
        ("pinecone", "probabilities", 100),
        ("dashscope", "probabilities", 500),
        ("deepinfra", "probabilities", None),
        ("resift", "unknown", 1000),
    ],
)
def test_d8_d19_each_dialect_declares_its_scale_and_its_limit(name: str, scale: str, most: int | None) -> None:
    """What vendors document is in the table; what they do not is said to be unknown."""
    assert (DIALECTS[name].scale, DIALECTS[name].max_documents) == (scale, most)


def test_the_key_goes_where_each_vendor_looks() -> None:
    """Pinecone wants a header of its own, everybody else a bearer token."""
    assert {(row.key_header, row.key_format) for row in DIALECTS.values() if row.name != "pinecone"} == {
        ("Authorization", "Bearer {key}")
    }
    assert (DIALECTS["pinecone"].key_header, DIALECTS["pinecone"].key_format) == ("Api-Key", "{key}")


def test_rows_are_known_by_their_names() -> None:
    """Each dialect is found under its own name, and no other is."""
    assert sorted(DIALECTS) == [
        "cohere", "dashscope", "deepinfra", "mixedbread", "nvidia", "openai", "pinecone", "resift", "tei", "voyage",
    ]  # fmt: skip
    assert all(isinstance(row, Dialect) and row.name == name for name, row in DIALECTS.items())


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_rows_are_plain_values(name: str) -> None:
    """A row can be hashed, compared and pickled."""
    row = DIALECTS[name]

    assert {pickle.loads(pickle.dumps(row)): 1}[row] == 1  # noqa: S301 - our own bytes


# what is no base URL


@pytest.mark.parametrize(
    ("base_url", "why"),
    [
        ("", "such as"),
        ("localhost:8000", "begin with http"),
        ("h", "begin with http"),
        ("ftp://h", "begin with http"),
        ("http://", "begin with http"),
        ("http:///v1", "begin with http"),
        ("http://h:99999", "host and port"),
        ("http://h:port", "host and port"),
        ("http://[::1", "host and port"),
        ("http://h/v1 ", "blanks"),
        ("http://h\n.example", "blanks"),
        ("http://h\\evil.example", "blanks"),
        ("http://h/\x00", "blanks"),
        ("http://h/\ud800", "blanks"),
        ("http://h?key=xyzzy", "no query"),
        ("http://h#xyzzy", "no fragment"),
        ("http://u:xyzzy@h", "no password"),
        ("http://xyzzy@h", "no user name"),
        ("u:xyzzy@h", "begin with http"),
        ("sk-xyzzy", "begin with http"),
        ("http://u:xyzzy@h:port", "host and port"),
        (None, "must be a str"),
        (b"http://h", "must be a str"),
    ],
)
def test_c1_what_is_no_base_url_is_refused_and_no_secret_is_shown(base_url: Any, why: str) -> None:
    """A base that cannot be meant so is refused, without a password or a query that it may hold."""
    with pytest.raises(InvalidInput, match=why) as error:
        choose("auto", base_url)

    assert "xyzzy" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("coher", "did you mean 'cohere'"), ("zzz", "choose from auto, openai"), (None, "choose from")]
)
def test_an_unknown_dialect_is_refused(name: Any, hint: str) -> None:
    """A misspelt dialect is answered with the closest one that exists."""
    with pytest.raises(InvalidInput, match=hint):
        choose(name, "http://h")


def test_a_route_with_the_model_in_it_needs_a_model() -> None:
    """Where the model is part of the address, it has to be named."""
    with pytest.raises(InvalidInput, match="model="):
        _urls("http://h", "deepinfra", None)

    assert _urls("http://h/v1/inference/org/m", "deepinfra", None) == ["http://h/v1/inference/org/m"]


@pytest.mark.parametrize("model", ["../admin", "org//m", "org/./m", "/m", "m/"])
def test_a_model_cannot_lead_to_another_address(model: str) -> None:
    """A model's name is quoted in the address, and one that would climb out of it is refused."""
    assert _urls("http://h", "deepinfra", "org/a b?c#d") == ["http://h/v1/inference/org/a%20b%3Fc%23d"]
    with pytest.raises(InvalidInput, match="cannot stand in a URL"):
        _urls("http://h", "deepinfra", model)


@given(st.text(max_size=40))
def test_any_base_is_read_or_refused(base_url: str) -> None:
    """No text makes the reader of addresses fail in another way."""
    try:
        urls = _urls("http://" + base_url)
    except InvalidInput:
        return
    assert all(url.startswith("http://") for url in urls)
