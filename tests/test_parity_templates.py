"""
Language models that their chat template asks score here as in sentence-transformers, which saved them.

Token ids are compared first, because numbers can agree only where ids do. The reference reads one document at a time.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

import resift
import tiny
from resift.errors import InvalidInput, MissingDependency, ModelUnsupported
from resift.scoring.families.templated import TemplatedLM

LOGIT = 2e-6
DOCUMENTS = list(tiny.DOCUMENTS)


def _says(role: str, part: str = ".content") -> str:
    return f"{{% for m in messages if m.role == '{role}' %}}{{{{ m{part} }}}}{{% endfor %}}"


QUERY, DOCUMENT, SYSTEM = map(_says, ("query", "document", "system"))
IN_CHAT = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nQ: {QUERY}\nD: {DOCUMENT}<|im_end|>\n"
ANSWER = "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
IN_TURNS = (
    "{%- for message in messages %}\n"
    "    {%- if message.role == 'query' %}\n"
    "        {{- '<|im_start|>system\\n' ~ message.content ~ '<|im_end|>\\n' }}\n"
    "    {%- elif message.role == 'document' %}\n"
    "        {{- '<|im_start|>user\\n' ~ message.content | trim ~ '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{% generation %}{{- '<|im_start|>assistant\\n' }}{% endgeneration %}{%- endif %}\n"
)


@dataclass(frozen=True)
class Asked:
    """How a language model was made a reranker."""

    template: str
    kind: str = "qwen3"
    answers: tuple[str, ...] = ("yes", "no")
    max_length: int = 8192
    query: str = tiny.QUERY
    told: str | None = None
    transformer: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)


PROMPTED: dict[str, Any] = {"prompts": {"web": "Find what answers the question."}, "default_prompt_name": "web"}
GENERATING: dict[str, Any] = {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}}
PARTS = _says("query", ".content[0].text") + "\n" + _says("document", ".content[0].text") + "\nRelevant?"
ASKED = {
    "plain": Asked(IN_CHAT + ANSWER),
    "one answer": Asked(IN_CHAT + ANSWER, answers=("Yes",)),
    "a prompt that was saved": Asked(IN_CHAT + ANSWER, saved=PROMPTED),
    "an instruction": Asked(IN_CHAT + ANSWER, saved=PROMPTED, told="Find what a child would understand."),
    "cut": Asked(IN_CHAT + ANSWER, max_length=96, saved=PROMPTED),
    "cut, a long query": Asked(IN_CHAT + ANSWER, max_length=560, query=tiny.LONG_QUERY),
    "cut in front": Asked(IN_CHAT + ANSWER, max_length=96, tokenizer={"truncation_side": "left"}),
    "cut for good": Asked(
        IN_CHAT + ANSWER, max_length=96, transformer={"processing_kwargs": {"chat_template": {"restore_suffix": False}}}
    ),
    "a length of the texts": Asked(
        IN_CHAT + ANSWER, transformer={"processing_kwargs": {"text": {"max_length": 128, "truncation": True}}}
    ),
    "in turns": Asked(IN_TURNS, answers=("Yes",), transformer=GENERATING),
    "in turns, cut": Asked(IN_TURNS, answers=("Yes",), transformer=GENERATING, max_length=64),
    "in turns, unfinished": Asked(IN_TURNS, kind="qwen2"),
    "the document first": Asked(f"Text: {DOCUMENT}\nAsked: {QUERY} ??", kind="qwen2", answers=("!",)),
    "in parts": Asked(PARTS),
    "with helpers": Asked("{{ messages | tojson }} in {{ strftime_now('%Y') }}:"),
    "with special tokens": Asked("{{ bos_token }}A: " + QUERY + "\nB: " + DOCUMENT + "{{ eos_token }}", kind="gemma"),
    "llama": Asked("<bos>A: " + QUERY + "\nB: " + DOCUMENT + "\nRelevant?", kind="llama"),
    "mistral": Asked("<bos>A: " + QUERY + "\nB: " + DOCUMENT + "\nRelevant?", kind="mistral"),
}
# what a tokenizer rebuilt by transformers 5 reads differently from tokenizer.json
REBUILT = {kind: {DOCUMENTS[22]} for kind in ("gemma", "llama", "mistral")}

Build = Callable[[Asked], Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a maker of rerankers that the reference saved."""

    def save(asked: Asked) -> Path:
        source = tiny.build(asked.kind, tmp_path / "source")
        (source / "chat_template.jinja").write_text(asked.template)
        transformer = _transformer(source, asked)
        tokenizer: Any = transformer.tokenizer
        score = LogitScore(*tokenizer.convert_tokens_to_ids(list(asked.answers)))
        model: Any = CrossEncoder(modules=[transformer, score], device="cpu", **asked.saved)
        model.save_pretrained(str(tmp_path / "saved"))
        return tmp_path / "saved"

    return save


def _transformer(source: Path, asked: Asked, task: Any = "text-generation") -> Transformer:
    options: dict[str, Any] = {"processor_kwargs": {"model_max_length": asked.max_length} | asked.tokenizer}
    transformer: Transformer = Transformer(str(source), transformer_task=task, **options, **asked.transformer)
    return transformer


def _expected(directory: Path, asked: Asked, documents: list[str]) -> tuple[list[list[int]], list[float]]:
    """Return what the reference reads, and its logits."""
    model: Any = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    seen: list[list[int]] = []
    handle = model[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]["input_ids"][0].tolist()))
    options: dict[str, Any] = {"activation_fn": nn.Identity(), "show_progress_bar": False, "prompt": asked.told}
    scores = [float(model.predict([(asked.query, document)], **options)[0]) for document in documents]
    handle.remove()
    return seen, scores


def _found(ranker: resift.LocalRanker, asked: Asked, documents: list[str]) -> list[list[int]]:
    prepared = ranker._hold.family.prepare(asked.query, documents, asked.told)  # noqa: SLF001 - what the model is fed
    return [[*prepared.prefix.tolist(), *tokens.ids.tolist()] for tokens in prepared.sequences]


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_template_parity(asked: Asked, build: Build) -> None:
    """A chat template gives the ids of the reference, cut at the same places, and the same scores."""
    directory = build(asked)
    documents = [document for document in DOCUMENTS if document not in REBUILT.get(asked.kind, set())]
    ids, scores = _expected(directory, asked, documents)

    with resift.load(directory, device="cpu", normalize=False) as ranker:
        assert _found(ranker, asked, documents) == ids
        found = ranker.score(asked.query, documents, instruction=asked.told)
        np.testing.assert_allclose(found, scores, atol=LOGIT, rtol=0)


@pytest.mark.parametrize(("activation", "raw"), [(nn.Identity(), True), (None, False)])
def test_a_template_applies_the_saved_activation(
    activation: nn.Module | None,
    raw: bool,  # noqa: FBT001
    build: Build,
) -> None:
    """The activation that was saved is applied; a sigmoid, where none was chosen."""
    directory = build(Asked(IN_CHAT + ANSWER, saved={"activation_fn": activation}))
    reference = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    expected = [float(reference.predict([(tiny.QUERY, document)])[0]) for document in DOCUMENTS[::3]]

    with resift.load(directory, device="cpu") as ranker:
        scores = ranker.score(tiny.QUERY, DOCUMENTS[::3])
    np.testing.assert_allclose(scores, expected, atol=LOGIT, rtol=0)
    assert (min(scores) < 0 or max(scores) > 1) == raw


def test_a_template_of_the_tokenizer_is_read(build: Build) -> None:
    """A template in the tokenizer's configuration, alone or the default of several, is as good as one in a file."""
    directory = build(Asked(IN_CHAT + ANSWER))
    with resift.load(directory, device="cpu") as ranker:
        expected = ranker.score(tiny.QUERY, DOCUMENTS[:4])
    text = (directory / "chat_template.jinja").read_text()
    (directory / "chat_template.jinja").unlink()
    path = directory / "tokenizer_config.json"
    for saved in (text, [{"name": "tool_use", "template": "none"}, {"name": "default", "template": text}]):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": saved}))
        with resift.load(directory, device="cpu") as ranker:
            assert ranker.score(tiny.QUERY, DOCUMENTS[:4]) == expected


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("qwen3", "lasttoken"), ("qwen3", "mean"), ("modernbert", "lasttoken"), ("modernbert", "cls"), ("llama", "max")],
)
def test_a_template_in_front_of_a_chain_parity(kind: str, pooling: Any, tmp_path: Path) -> None:
    """A model with a template, a pooling and a layer reads messages as well, and pools all of them."""
    asked = Asked("<|im_start|>system: which document of all these answers the query?\n" + IN_CHAT + ANSWER)
    source = tiny.build(kind, tmp_path / "source")
    (source / "chat_template.jinja").write_text(asked.template)
    layer = Dense(32, 1, activation_function=nn.Identity(), module_output_name="scores")
    layer.linear.weight.data = torch.randn(1, 32, generator=torch.Generator().manual_seed(0)) / 4
    modules = [_transformer(source, asked, "feature-extraction"), Pooling(32, pooling), layer]
    model: Any = CrossEncoder(modules=modules, device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    documents = [document for document in DOCUMENTS if document not in REBUILT.get(kind, set())]
    ids, scores = _expected(tmp_path / "saved", asked, documents)

    with resift.load(tmp_path / "saved", device="cpu", normalize=False) as ranker:
        assert _found(ranker, asked, documents) == ids
        np.testing.assert_allclose(ranker.score(asked.query, documents), scores, atol=LOGIT, rtol=0)


def test_an_embedding_model_that_is_given_messages_is_refused(tmp_path: Path) -> None:
    """A model that embeds what its chat template writes is not read as one that embeds texts."""
    source = tiny.build("qwen3", tmp_path / "source")
    (source / "chat_template.jinja").write_text(IN_TURNS)
    modules = [_transformer(source, Asked(IN_TURNS), "feature-extraction"), Pooling(32, "lasttoken")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "saved"))

    assert "messages" in _refused(tmp_path / "saved")


# what is shared, and what is refused


def test_what_prompts_begin_with_is_computed_once(build: Build) -> None:
    """The template's beginning and the query are read once for all documents of a call."""
    with resift.load(build(Asked(IN_CHAT + ANSWER)), device="cpu") as ranker:
        family = ranker._hold.family  # noqa: SLF001 - there is no other way to see
        assert isinstance(family, TemplatedLM)
        prepared = family.prepare(tiny.QUERY, ["Panda", "bamboo"], None)

    assert len(prepared.prefix) > 20


def test_the_catalogue_wins_over_a_template(build: Build) -> None:
    """A catalogued model is asked as its authors asked it, whatever template was saved beside it since."""
    directory = build(Asked("other words: " + QUERY + DOCUMENT))
    with resift.load(directory, like="Qwen/Qwen3-Reranker-0.6B", device="cpu") as ranker:
        assert not isinstance(ranker._hold.family, TemplatedLM)  # noqa: SLF001 - there is no other way to see


def test_an_instruction_that_nobody_hears_is_refused(build: Build) -> None:
    """A template that writes no system message takes no instruction."""
    directory = build(Asked("Q: " + QUERY + "\nD: " + DOCUMENT))
    with resift.load(directory, device="cpu") as ranker, pytest.raises(InvalidInput, match="instruction"):
        ranker.score("panda", ["bamboo"], instruction="Find bears.")


def test_a_query_that_fills_everything_is_refused(build: Build) -> None:
    """A query that leaves no room for a document is an error, and not the same score for all."""
    with (
        resift.load(build(Asked(IN_CHAT + ANSWER, max_length=96)), device="cpu") as ranker,
        pytest.raises(InvalidInput, match="max_length=96"),
    ):
        ranker.score(tiny.LONG_QUERY, ["bamboo"])


def test_windows_are_refused(build: Build) -> None:
    """A template's prompt is cut as one text, so windows are refused when the model is loaded, and not left out."""
    directory = build(Asked(IN_CHAT + ANSWER))
    with pytest.raises(InvalidInput, match="cannot read documents in windows"):
        resift.load(directory, device="cpu", long_documents="window")


def _refused(directory: Path) -> str:
    with pytest.raises(ModelUnsupported) as refused:
        resift.load(directory, device="cpu")
    assert str(directory) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("Only the query: " + QUERY, "document would be lost"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "query and the document"),
        ("{{ raise_exception('only user and assistant roles') }}", "TemplateError"),
        ("{{ messages[5].content }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__ }}" + QUERY + DOCUMENT, "SecurityError"),
    ],
)
def test_a_template_that_carries_no_pair_is_refused(template: str, said: str, build: Build) -> None:
    """A template that loses a text, or fails, or reaches for more than texts is named before anything is scored."""
    directory = build(Asked(IN_CHAT + ANSWER))
    (directory / "chat_template.jinja").write_text(template)

    assert said in _refused(directory)


def test_a_template_that_cannot_be_read_is_refused(build: Build) -> None:
    """A template with an error in it is an error."""
    directory = build(Asked(IN_CHAT + ANSWER))
    (directory / "chat_template.jinja").write_text("{% for %}")

    with pytest.raises(ModelUnsupported, match="template"):
        resift.load(directory, device="cpu")


def test_a_template_needs_its_library(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jinja2 is not installed, the error names the extra that brings it."""
    directory = build(Asked(IN_CHAT + ANSWER))
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(MissingDependency, match=r"resift\[local\]"):
        resift.load(directory, device="cpu")


def test_a_template_that_fails_on_a_text_keeps_it_secret(build: Build) -> None:
    """A template may refuse a text, and the error then does not repeat it."""
    template = "{% if 'Panda' in messages[-1].content %}{{ raise_exception(messages[-1].content) }}{% endif %}"
    with resift.load(build(Asked(template + IN_CHAT + ANSWER)), device="cpu") as ranker:
        with pytest.raises(ModelUnsupported) as refused:
            ranker.score("panda", ["A secret Panda."])
        assert len(ranker.score("panda", ["A bear."])) == 1
    assert "secret" not in str(refused.value)
    assert refused.value.__context__ is None


def test_a_model_without_a_template_is_refused(build: Build) -> None:
    """Without a template the two texts would be joined without a word between, which the error says how to avoid."""
    directory = build(Asked(IN_CHAT + ANSWER))
    (directory / "chat_template.jinja").unlink()

    message = _refused(directory)
    assert "like=" in message
    assert "resift.Prompt" in message


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("sentence_bert_config.json", {"transformer_task": "any-to-any"}, "'any-to-any'"),
        ("1_LogitScore/config.json", {"module_input_name": "logits"}, "'logits'"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"truncation": "only_first"}}}, "'only_first'"),
        ("config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.activation.Tanh"}, "Tanh"),
    ],
)
def test_a_model_that_was_saved_for_something_else_is_refused(
    file: str, fields: dict[str, Any], said: str, build: Build
) -> None:
    """What the files ask for and is not known is named."""
    directory = build(Asked(IN_CHAT + ANSWER))
    path = directory / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    assert said in _refused(directory)
