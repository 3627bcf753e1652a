"""Language models (语言模型): chapter 05.

A text is a row of tokens, and the chain rule splits its probability without loss:
p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ... Every model here gives p(next token | those before)
and is trained on the cross-entropy of that, in nats a token.
"""

from aigc_keras.attention import CausalSelfAttention, TransformerBlock
from aigc_keras.text.gpt import GPT
from aigc_keras.text.language_model import LanguageModel, adamw
from aigc_keras.text.ngram import NGram
from aigc_keras.text.recurrent import (
    CELLS,
    Recurrent,
    RNNLanguageModel,
    gru_cell,
    lstm_cell,
    rnn_cell,
)
from aigc_keras.text.sampling import Written, keep_top
from aigc_keras.text.tokenizers import END, PADDING, BPETokenizer, CharTokenizer
