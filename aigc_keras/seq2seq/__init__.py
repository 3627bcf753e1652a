"""Chapter 09: from text to text, by an encoder that reads and a decoder that writes."""

from aigc_keras.seq2seq.alignment import WordAlignment
from aigc_keras.seq2seq.networks import RNNSeq2Seq, Seq2Seq

__all__ = ["RNNSeq2Seq", "Seq2Seq", "WordAlignment"]
