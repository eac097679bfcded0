"""The smallest tokenizer in the layout of T5's, and texts that tokenizers disagree on."""

import io

import sentencepiece
from etils import epath

from sora_jax.models.t5_tokenizer import T5Tokenizer

SENTENCES = [
    "a red ball rolls over the green hill",
    "the cat sees a film of a cat",
    "a camera moves slowly, 24 fps; it is night.",
    "Ein roter Ball rollt über den grünen Hügel",
    "une balle rouge roule sur la colline",
    "一个红色的球滚过绿色的山丘",
    "赤いボールが丘を転がる",
    "красный мяч катится по зелёному холму",
] * 3
"""What the smallest tokenizer learns from."""
TEXTS = [
    "",
    " ",
    "a red ball",
    " a red ball ",
    "a  red   ball",
    "a\tred\nball",
    "a\u00a0red\u3000ball",
    "\u200bhill",
    "über den grünen Hügel",
    "红色的球 ball",
    "мяч катится",
    "ボールが丘",
    "ｒｅｄ ﬁlm u\u0308ber",
    "▁a▁ball",
    "a cat</s>the cat",
    "a </s> cat",
    "</s>",
    "<pad> a <unk>",
    "the <extra_id_0> rolls <extra_id_99>.",
    "a cat<pad> </s> <unk>the",
    "the camera sees a red ball and a green hill and a cat at night",
]
UNKNOWN = ["QQQ 😀 z", "Straße 9", "a😀b", "אב", "🇩🇪", "<extra_id_100> a < s>", "Ü e\u0301"]
"""With characters that the smallest tokenizer has never seen."""
LENGTH = 24
"""Tokens; the longest text has more."""


def train(path: epath.PathLike, byte_fallback: bool) -> T5Tokenizer:
    """The smallest tokenizer, in the layout of T5's; written to `path`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=450 if byte_fallback else 180,
        hard_vocab_limit=False,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        byte_fallback=byte_fallback,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    epath.Path(path).write_bytes(model.getvalue())
    return T5Tokenizer(path)
