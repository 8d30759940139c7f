"""
Trains the small tokenizers that the tiny models of the test suite share, and keeps them as `vocabularies/*.json`.

They are kept, not trained per run, so that every version of every library reads the very same ids.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

FOLDER = Path(__file__).parent / "vocabularies"

PROSE = """\
The giant panda is a bear species that lives in the mountains of central China.
A panda eats bamboo for most of the day, and it sleeps for the rest of it.
What is the capital of France? Paris is the capital and the largest city of France.
Red foxes hunt mice at night; grey wolves hunt in packs in the winter.
Mars is called the red planet because of the iron in its dust.
Jupiter is the largest planet, and Saturn has rings of ice and rock.
How do I reset my password? Open the settings, choose security, and click on reset.
The server returned an error: the file was not found, so the request was cancelled.
Our price is 19.99 euros (taxes included) with free delivery in 2 or 3 days!
She said: "It was the best of times, it was the worst of times."
A query asks; a document answers; a score says how well it does.
Water boils at 100 degrees and freezes at 0 degrees.
Why did the old bridge fall? Nobody knows. The engineers are still looking for the reason.
Learning to rank: models read a question and a passage together.
Der Riesenpanda ist ein Bär, der in den Bergen von China lebt und Bambus frisst.
Die Hauptstadt von Frankreich ist Paris; die größte Stadt der Schweiz ist Zürich.
Le panda géant est un ours qui vit en Chine et mange du bambou à longueur de journée.
Où se trouve la tour Eiffel ? Elle se trouve à Paris, près de la Seine.
大熊猫是一种生活在中国的熊。大熊猫吃竹子。
中国的首都是北京。法国的首都是巴黎。
パンダは中国に住んでいる熊です。パンダは竹を食べます。
フランスの首都はパリです。
الباندا العملاقة دب يعيش في الصين ويأكل الخيزران.
عاصمة فرنسا هي باريس.
"""

PROMPTS = """\
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.
You are a search relevance expert who evaluates how well documents match search queries.
For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary \
relevance judgment (0 for not relevant, 1 for relevant).
Judge whether the Document meets the requirements based on the Query and the Instruct provided.
Note that the answer can only be "yes" or "no".
Given a web search query, retrieve relevant passages that answer the query
Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a \
prediction of either 'Yes' or 'No'.
Represent this sentence for searching relevant passages:
system
user
assistant
instruction: query: document: Relevance:
<Instruct>: <Query>: <Document>:
"""

# The answers, and the endings that real byte-level vocabularies hold as one token: without them a tiny tokenizer
# would hide the difference between tokenising a prompt whole and tokenising it piece by piece.
ANSWERS = ("yes", "no", "Yes", "No")
ENDINGS = (".\n", "?\n", "!\n", ")\n", ":\n", ".\n\n", "\n\n", '"\n')

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(*, repeats: int = 40) -> list[str]:
    lines = (PROSE + PROMPTS * 2).splitlines(keepends=True)
    return lines + ["end" + ending for ending in ENDINGS] * repeats + list(ANSWERS) * repeats


def count_pieces(tokenizer: Tokenizer, *, size: int, inner: str = "") -> dict[str, int]:
    """
    Count every character of the corpus and its `size` heaviest longer pieces; `inner` marks those inside a word.

    The library's WordPiece and Unigram trainers give another vocabulary in every run; counting does not.
    """
    counts: Counter[str] = Counter()
    for line in corpus(repeats=2):
        normal = tokenizer.normalizer.normalize_str(line)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            for start in range(len(word)):
                mark = inner if start else ""
                counts.update(mark + word[start:end] for end in range(start + 1, min(len(word), start + 10) + 1))
    weights = {piece: len(piece.removeprefix(inner)) * count for piece, count in counts.items()}
    single = sorted(piece for piece in counts if len(piece.removeprefix(inner)) == 1)
    longer = sorted((piece for piece in counts if piece not in single), key=lambda piece: (-weights[piece], piece))
    return {piece: counts[piece] for piece in single + longer[:size]}


def special_ids(tokenizer: Tokenizer, *tokens: str) -> list[tuple[str, int]]:
    vocabulary = tokenizer.get_vocab()
    return [(token, vocabulary[token]) for token in tokens]


def pair_template(tokenizer: Tokenizer, cls: str, sep: str, *, joint: str, types: bool) -> None:
    second = 1 if types else 0
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {joint} $B:{second} {sep}:{second}",
        special_tokens=special_ids(tokenizer, cls, sep),
    )


def mask_token(text: str) -> AddedToken:
    """Swallow the blank before it, as the real ones do."""
    return AddedToken(text, lstrip=True, normalized=False, special=True)


def check_whole(tokenizer: Tokenizer, texts: list[str]) -> None:
    split_up = [text for text in texts if len(tokenizer.encode(text, add_special_tokens=False).ids) != 1]
    if split_up:
        raise ValueError(f"not single tokens: {split_up!r}; repeat them more often in the corpus")


def train_bert() -> Tokenizer:
    """Lower-cased WordPiece, `[CLS] a [SEP] b [SEP]` with token types; `[unused*]` are late-interaction marks."""
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, "[unused0]", "[unused1]", *count_pieces(tokenizer, size=500, inner="##")]
    vocabulary = {piece: position for position, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer.add_special_tokens(specials)
    pair_template(tokenizer, "[CLS]", "[SEP]", joint="[SEP]:0", types=True)
    return tokenizer


def train_unigram(tokenizer: Tokenizer, *, specials: list[str]) -> None:
    counts = count_pieces(tokenizer, size=500)
    total = sum(counts.values())
    scored = [(piece, math.log(count / total)) for piece, count in counts.items()]
    tokenizer.model = models.Unigram([(special, 0.0) for special in specials] + scored, unk_id=3)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(specials)


def train_xlmr() -> Tokenizer:
    """Unigram with the fairseq order of ids and `<s> a </s></s> b </s>`."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    train_unigram(tokenizer, specials=["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([mask_token("<mask>")])
    pair_template(tokenizer, "<s>", "</s>", joint="</s> </s>", types=False)
    return tokenizer


def train_deberta() -> Tokenizer:
    """Unigram with blanks folded, `[CLS] a [SEP] b [SEP]` with token types."""
    tokenizer = Tokenizer(models.Unigram())
    blanks = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    tokenizer.normalizer = normalizers.Sequence([blanks, normalizers.NFKC(), normalizers.Strip(left=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train_unigram(tokenizer, specials=["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    tokenizer.add_special_tokens(["[MASK]"])
    pair_template(tokenizer, "[CLS]", "[SEP]", joint="[SEP]:0", types=True)
    return tokenizer


def train_bytes(*, split: str | None = None, specials: tuple[str, ...] = ()) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    if split is not None:
        first = pre_tokenizers.Split(Regex(split), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, tokenizer.pre_tokenizer])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def train_qwen() -> Tokenizer:
    """Byte-level BPE whose pre-tokenizer joins punctuation with the newline after it."""
    tokenizer = train_bytes(split=QWEN_SPLIT)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["<think>", "</think>"])
    check_whole(tokenizer, [*ENDINGS, *ANSWERS, "0", "1", "\n"])
    return tokenizer


def train_modernbert() -> Tokenizer:
    """Byte-level BPE, `[CLS] a [SEP] b [SEP]` without token types."""
    tokenizer = train_bytes()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", mask_token("[MASK]")])
    pair_template(tokenizer, "[CLS]", "[SEP]", joint="[SEP]", types=False)
    return tokenizer


def train_roberta() -> Tokenizer:
    """Byte-level BPE with `<s> a </s></s> b </s>`."""
    tokenizer = train_bytes(specials=("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens([mask_token("<mask>")])
    (cls, sep) = special_ids(tokenizer, "<s>", "</s>")
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return tokenizer


def train_gemma() -> Tokenizer:
    """BPE over text whose blanks became U+2581, bytes as the fallback, `<bos>` in front."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    # Words are kept apart only while training: later the whole text is one word, but no merge crosses a blank.
    words = Regex("\u2581+[^\u2581\n]*|\n+|[^\u2581\n]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="isolated")
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *byte_tokens]
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer = without_added(tokenizer, byte_tokens)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=special_ids(tokenizer, "<bos>")
    )
    check_whole(tokenizer, ["Yes", "No", "\n"])
    return tokenizer


def without_added(tokenizer: Tokenizer, tokens: list[str]) -> Tokenizer:
    """Keep the tokens in the vocabulary, but let them no longer match literal text."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in tokens]
    return Tokenizer.from_str(json.dumps(state))


TRAINERS: dict[str, Callable[[], Tokenizer]] = {
    "bert": train_bert,
    "xlmr": train_xlmr,
    "deberta": train_deberta,
    "qwen": train_qwen,
    "modernbert": train_modernbert,
    "roberta": train_roberta,
    "gemma": train_gemma,
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, train in TRAINERS.items():
        (FOLDER / f"{name}.json").write_text(train().to_str() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
