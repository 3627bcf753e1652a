"""BLEU, chrF and ROUGE: by hand, against their libraries, and their errors."""

import math

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from aigc_keras import metrics

SENTENCES = (
    "the cat sat on the mat .",
    "a dog ran over the green hill and slept .",
    "nobody knows what the old man in the boat had seen that night .",
    "we are glad that you came to see us today .",
)


def changed(sentences, seed, p):
    """Each word another one with probability p."""
    rng = np.random.default_rng(seed)
    pool = " ".join(sentences).split()
    return [
        " ".join(rng.choice(pool) if rng.random() < p else word for word in sentence.split())
        for sentence in sentences
    ]


MANY = [f"{SENTENCES[i % 4]} number {i}" for i in range(60)]


def test_bleu_by_hand():
    text, reference = "the the the cat sat on a mat", "the cat sat on the mat today my friend"
    # Of 8 words 6 (two of three "the"), of 7 pairs 3 ("the cat", "cat sat", "sat on"), of 6 threes
    # 2, of 5 fours 1; 8 words against 9.
    expected = math.exp(1 - 9 / 8) * (6 / 8 * 3 / 7 * 2 / 6 * 1 / 5) ** (1 / 4)
    assert metrics.bleu([text], [reference]).value == pytest.approx(100 * expected)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_their_libraries(seed):
    texts = changed(MANY, seed, 0.3)
    assert metrics.bleu(texts, MANY).value == pytest.approx(
        sacrebleu.corpus_bleu(texts, [MANY]).score
    )
    assert metrics.chrf(texts, MANY).value == pytest.approx(
        sacrebleu.corpus_chrf(texts, [MANY]).score
    )
    for kind in ("rouge1", "rouge2", "rougeL"):
        scorer = RougeScorer([kind], use_stemmer=True)
        each = [
            scorer.score(target, text)[kind].fmeasure
            for text, target in zip(texts, MANY, strict=True)
        ]
        assert metrics.rouge(texts, MANY, kind).value == pytest.approx(100 * np.mean(each))


def test_a_copy_has_100_without_error_and_nothing_in_common_has_0():
    for score in (metrics.bleu, metrics.chrf, metrics.rouge):
        perfect = score(MANY, MANY)
        assert (perfect.value, perfect.error) == (pytest.approx(100), pytest.approx(0, abs=1e-9))
        assert score(["zzz xxx"] * 60, MANY).value == pytest.approx(0, abs=1)


def test_the_error_is_sacrebleus_and_of_means_the_one_of_statistics():
    texts = changed(MANY, 0, 0.3)
    theirs = sacrebleu.metrics.BLEU().corpus_score(texts, [MANY], n_bootstrap=1000)
    ours = metrics.bleu(texts, MANY, n_draws=1000)
    assert ours.error == pytest.approx(theirs._ci / 1.96, rel=0.2)
    found = metrics.rouge(texts, MANY, n_draws=2000)
    each = [metrics.rouge([a], [b]).value for a, b in zip(texts, MANY, strict=True)]
    assert found.error == pytest.approx(np.std(each) / math.sqrt(60), rel=0.1)


def test_texts_of_one_document_are_drawn_together():
    texts = changed(MANY, 0, 0.3)
    documents = [i // 20 for i in range(60)]
    copied = metrics.rouge(texts[:20] * 3, MANY[:20] * 3, documents=documents)
    assert copied.error == pytest.approx(0, abs=1e-9)  # three times the same one
    assert metrics.rouge(texts[:20] * 3, MANY[:20] * 3).error > 0.5
    named = metrics.rouge(texts, MANY, documents=[f"d{i}" for i in documents])
    assert named.error == metrics.rouge(texts, MANY, documents=documents).error


def test_a_difference_is_paired():
    worse, better = changed(MANY, 0, 0.3), changed(MANY, 0, 0.29)
    a, b = metrics.bleu(better, MANY), metrics.bleu(worse, MANY)
    difference, error = a.difference(b)
    assert difference == a.value - b.value
    assert 0 < error < 0.5 * math.hypot(a.error, b.error)
    assert a.difference(a) == (0, 0)
    with pytest.raises(
        ValueError, match=r"other: got a score by 'rougeL.*accepted is one by .*BLEU"
    ):
        a.difference(metrics.rouge(worse, MANY))


def test_what_is_shown_says_how_it_was_counted():
    score = metrics.bleu(changed(MANY, 0, 0.1), MANY)
    assert str(score) == f"BLEU {score.value:.1f} ± {score.error:.1f}"
    assert "tok:13a" in score.signature and sacrebleu.__version__ in score.signature
    assert str(metrics.chrf(MANY, MANY)).startswith("chrF 100.0")
    assert str(metrics.rouge(MANY, MANY)).startswith("ROUGE-L 100.0")
    assert metrics.bleu(MANY, MANY, seed=1).samples.shape == (300,)
