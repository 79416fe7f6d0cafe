# %% [markdown]
# # 26 A language model behind an API
#
# At 3 a.m. the text service is slow. The graph of requests a second is flat, the error rate is zero, and the model is
# the same as last week. But one customer now asks for answers of 2,000 words, and everyone else waits behind them.
#
# ## You will be able to
#
# - compare language models fairly, in bits per character;
# - explain why reading a prompt is cheap and writing an answer is slow;
# - build a cache of keys and values, check that it changes no token, and compute its size;
# - schedule many requests on one model by continuous batching;
# - serve the model in the form of OpenAI's API: streaming, limits, clients that leave, and the two latencies that users
#   feel.
#
# ## Before you start
#
# You need cross-entropy (lesson 02), training in PyTorch (04), the roofline (13), batching (14) and histograms (20).
# Times below are those of the machine that built this page.

# %%
import http.client
import json
import math
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import matplotlib.pyplot as plt
import numpy as np
import torch

from course_lib import models, show
from course_lib.idioms import begin, claim, guess, observe, path, reveal
from course_lib.language import model as lm
from course_lib.language import text
from course_lib.ops.http import DIRECT
from course_lib.ops.service import start_module

# %%
scratch = begin("26")
torch.set_num_threads(1)  # the network is small: more threads would only wait
path.picture(here="26")

# %% [markdown]
# ## What does a language model compute?
#
# A *language model* answers one question: given a text so far, how likely is each possible continuation? Ours learns
# from the manual of Python 3.11: the topics that `help` shows. The course ships a copy in which each paragraph stands
# only once. One paragraph in twenty is *held out*: no model sees it while learning.

# %%
learn, held_out = text.manual()
print(held_out[:230])
print(f"{len(learn):,} characters to learn from, {len(held_out):,} held out")

# %% [markdown]
# The model does not read characters. It reads *tokens*, numbered pieces of text (not the tokens of lesson 22, which let
# a caller in). *Byte pair encoding* chooses the pieces. It starts with the 256 possible bytes, so that it can encode
# any text. Then it joins the most frequent pair of neighbours into one new piece, and repeats this step. We stop at 512
# pieces. Many large models have 100,000 or more.

# %%
pieces = text.Pieces.learn(learn)
kept = text.Pieces.load(models.path("manual_lm", 1, "pieces.json"))
tokens, unseen = (np.array(pieces.encode(each)) for each in (learn, held_out))
print([pieces.decode([each]) for each in pieces.encode("The statement returns an iterator.")])

# %%
claim(
    "encoding loses nothing, and the pieces are those in models/",
    pieces.decode(unseen) == held_out and pieces.merges == kept.merges,
    f"{len(held_out) / len(unseen):.2f} characters a token",
)

# %% [markdown]
# A space belongs to the word that follows it, so ` statement` and `statement` are different texts. **Where this goes
# wrong:** a prompt that ends with a space. The model has learned that words *begin* with their space, so it has
# rarely seen a lone space at the end.

# %%
print(pieces.encode("The statement is"), pieces.encode("The statement is "))

# %% [markdown]
# ## How good is it, compared with counting?
#
# The loss is lesson 02's cross-entropy, $-\ln p$ of the token that really came, averaged. But two models with
# different pieces have different numbers of tokens. So we add up the loss of a text and divide by its *characters*:
#
# $$\text{bits per character} = \frac{1}{\ln 2 \cdot \text{characters}} \sum_i -\ln p(\text{token}_i \mid \text{tokens before}).$$
#
# The oldest language model needs no training. An *n-gram* model counts which character followed the last $n - 1$
# characters. Where a context was rarely seen, it trusts the shorter context more. With $c$ counts of a context, and
# $d$ different characters after it, the weight of the shorter context is $d/(c + d)$ (Witten and Bell).

# %%
longest = 7
seen = [Counter(learn[i : i + n + 1] for i in range(len(learn) - n)) for n in range(longest)]
contexts, followers = [Counter() for _ in seen], [Counter() for _ in seen]
for n, grams in enumerate(seen):
    for gram, count in grams.items():
        contexts[n][gram[:-1]] += count
        followers[n][gram[:-1]] += 1


# %%
def bits_by_counting(order):
    """Bits per character of the held-out text, from counts of up to `order` characters."""
    bits = 0.0
    for i, character in enumerate(held_out):
        p = 1 / 256
        for n in range(min(order, i + 1)):
            before = held_out[i - n : i]
            if not (count := contexts[n][before]):
                break
            p = (seen[n][before + character] + followers[n][before] * p) / (
                count + followers[n][before]
            )
        bits -= math.log2(p)
    return bits / len(held_out)


counted = {order: bits_by_counting(order) for order in range(1, longest + 1)}
print({order: round(bits, 2) for order, bits in counted.items()})

# %% [markdown]
# Order 1 knows only how frequent each character is. Order 6 needs about 1.8 bits per character. The file in `models/`
# holds a *transformer*, a network with attention, of 0.86 million weights in 8 bits. It has learned from the same text.

# %%
guess(
    "bits",
    "How many bits per character does the transformer need?",
    low=0.5,
    high=4.0,
    unit="bits",
)

# %% [markdown]
# We load it and measure it on the held-out text.

# %%
network = lm.load(models.path("manual_lm", 1, "model.npz"))


# %%
def bits_of(model):
    return lm.nats(model, unseen) / math.log(2) / len(held_out)


bits = bits_of(network)
reveal("bits", bits)

# %%
claim("the transformer beats every count", bits < min(counted.values()) - 0.05, f"{bits:.2f} bits")

# %% [markdown]
# It wins, but not by much. On a small text of one style, a table of counts is a strong baseline. Measure such a
# baseline first.
#
# The file was trained for 1,600 steps by `python -m course_lib.language`, which takes about three minutes. Here we
# run the first 100 steps of the same training, with the same seed. The file `curve.json` holds what the long training
# measured on its way.

# %%
points = []
lm.train(
    tokens, 100, planned=1600, told=lambda step, now: points.append((step, bits_of(now))), every=25
)
curve = json.loads(models.path("manual_lm", 1, "curve.json").read_text(encoding="utf-8"))

# %%
claim(
    "after 100 steps we are where the long training was",
    abs(points[-1][1] - curve[0][1]) < 0.15,
    f"{points[-1][1]:.2f} bits here, {curve[0][1]:.2f} then",
)

# %%
plt.figure(figsize=(6.5, 3.2))
plt.plot(*zip(*curve), "-", label="the long training")
plt.plot(*zip(*points), "o", label="here")
plt.axhline(min(counted.values()), color="gray", linestyle="--", label="best table of counts")
plt.xlabel("training steps")
plt.ylabel("bits per character,\nheld-out text")
plt.legend()
show.finding(
    "Training passes the table of counts after about 900 steps",
    alt="Bits per character fall to 1.65 over 1,600 steps, below the counts' line from about 900.",
)

# %% [markdown]
# ## How does it write?
#
# The network returns one number for each possible next token, the *logits*. Divide them by the *temperature* and take
# the softmax. Draw a token, append it, and start again. Temperature 0 means the most probable token, every time. That
# is called *greedy* decoding.


# %%
@torch.inference_mode()
def write(prompt, count, temperature, seed=0):
    ids, generator = pieces.encode(prompt), torch.Generator().manual_seed(seed)
    for _ in range(count):
        logits = network(torch.tensor([ids]))[0, -1]
        if temperature == 0:
            ids.append(int(logits.argmax()))
        else:
            chances = (logits / temperature).softmax(0)
            ids.append(int(torch.multinomial(chances, 1, generator=generator)))
    return pieces.decode(ids)


# %%
for temperature in (0, 0.7, 1.5):
    print(f"--- temperature {temperature}\n{write('The statement', 60, temperature)}")

# %% [markdown]
# It has learned the manual's form, not its meaning. That is enough: a server does the same work for a good model. In
# exercise 26.2 you write *top-p sampling*, which cuts off the unlikely tokens before it draws. **Do it now if you
# like.**
#
# ## Why does every token read the whole text again?
#
# Look at `write`. For each new token it passes *all* tokens through the network. In each layer, *attention* lets a
# token look at the tokens before it. A token makes three vectors: a *query* (what it looks for), a *key* (what it
# offers) and a *value* (what it passes on). The keys and values of old tokens never change, because they look only
# backwards. So we can keep them. That store is the *KV cache*.
#
# Here is attention for one sequence, with and without a cache. With `kept`, `x` holds only the new tokens.


# %%
def attend(attention, x, kept=None):
    """x: (new, width). kept: earlier keys and values. Returns the output, and what to keep."""
    queries, keys, values = attention.qkv(x).view(len(x), 3, lm.HEADS, -1).permute(1, 2, 0, 3)
    if kept is not None:
        keys, values = torch.cat([kept[0], keys], 1), torch.cat([kept[1], values], 1)
    total = keys.shape[1]  # tokens so far, the new ones included
    back = torch.arange(total - len(x), total)[:, None] - torch.arange(total)
    scores = queries @ keys.mT / math.sqrt(keys.shape[2]) - attention.slopes * back
    shares = scores.masked_fill(back < 0, -math.inf).softmax(-1)  # no look ahead
    return attention.out((shares @ values).transpose(0, 1).flatten(1)), (keys, values)


# %% [markdown]
# `back` says how far each key lies behind each query. Negative means the future, which is masked. The term with
# `slopes` makes far tokens count less (ALiBi). Other models mark positions by rotations (RoPE). The cache works the
# same way.

# %%
first = network.blocks[0].attention
x = torch.randn(10, lm.WIDTH, generator=torch.Generator().manual_seed(0))
with torch.inference_mode():
    whole, _ = attend(first, x)
    rows, cache = attend(first, x[:6])
    parts = [rows]
    for i in range(6, 10):
        rows, cache = attend(first, x[i : i + 1], cache)
        parts.append(rows)
gap = float((whole - torch.cat(parts)).abs().max())

# %%
claim("six tokens at once and four one by one give the same", gap < 1e-5, f"difference {gap:.0e}")

# %% [markdown]
# The model's own class does the same for many sequences at once. Its `Cache` has room for a fixed number of them, the
# *slots*. We write 200 tokens with it and without it, greedily.

# %%
guess("cache", "How many times faster are 200 tokens with a cache?", low=1, high=200, unit="times")


# %%
@torch.inference_mode()
def greedy(count, cached):
    """Tokens after a prompt, the smallest lead of the best token, and the seconds."""
    ids, cache, slot = pieces.encode("The statement"), lm.Cache(1), torch.tensor([0])
    new, lead, began = ids, math.inf, time.perf_counter()
    for _ in range(count):
        logits = (
            network(torch.tensor([new]), cache, slot) if cached else network(torch.tensor([ids]))
        )
        best = logits[0, -1].topk(2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        new = ids[-1:]
    return ids, lead, time.perf_counter() - began


# %% [markdown]
# We also note by how much the best token leads the second one. The smallest lead says how safe the tokens are.

# %%
slow, lead, slow_s = greedy(200, cached=False)
fast, _, fast_s = greedy(200, cached=True)
reveal("cache", slow_s / fast_s)

# %%
claim("the cache changes no token", slow == fast, f"smallest lead of a best token: {lead:.3f}")
observe(
    "the cache is faster",
    fast_s < slow_s,
    f"{slow_s / fast_s:.1f} times, {1000 * fast_s / 200:.1f} ms a token",
)

# %% [markdown]
# The two ways add the same numbers in another order, so they round differently. On our machine the logits differ by
# about 0.00001 at most. The best token leads by far more than that, so the same tokens win. In many long answers, two
# tokens may come so close that the rounding decides, and the texts differ from there on. Do not promise identical
# texts across versions, batches or machines.
#
# Without a cache, all $n$ tokens so far pass through the network to give the next one. With a cache, only one does.
# So why is the factor not 100? Each pass has a fixed cost, whether it computes one token or fifty. We come to that
# below.
#
# ## How large is the cache?
#
# Each token keeps a key and a value, in each layer, for each head:
#
# $$\text{bytes per token} = 2 \times \text{layers} \times \text{heads} \times \text{head size} \times \text{bytes per number}$$

# %%
one = lm.Cache(slots=1, capacity=1)
ours = 2 * lm.LAYERS * lm.HEADS * (lm.WIDTH // lm.HEADS) * 4

# %%
claim("the formula gives the tensors' bytes", one.bytes == ours, f"{ours:,} bytes a token")
known = {  # layers, heads that have keys, head size, bytes per number
    "ours, float32": (lm.LAYERS, lm.HEADS, lm.WIDTH // lm.HEADS, 4),
    "Llama 2 7B, 16 bits": (32, 32, 128, 2),
    "Llama 3.1 8B, 16 bits": (32, 8, 128, 2),
}
sizes = {name: 2 * math.prod(each) for name, each in known.items()}
rows = [[name, f"{size:,}", show.bytes_text(8192 * size)] for name, size in sizes.items()]

# %%
show.table(["model", "bytes a token", "8,192 tokens"], rows, caption="What one sequence keeps")

# %% [markdown]
# In Llama 3.1 four query heads share one key head (*grouped-query attention*), so its cache is a quarter of the size.
# The weights of such a model take another 16 GB. On a card with 24 GB, the cache decides how many requests fit. **Now
# do exercise 26.1**, which answers that question.
#
# ## Why is writing slower than reading?
#
# A request has two phases. *Prefill* passes the whole prompt through the network at once and fills the cache. *Decode*
# then makes one token at a time.

# %%
ids = torch.tensor([unseen[:200].tolist()])
slot = torch.tensor([0])


# %%
@torch.inference_mode()
def seconds_for(chunk):
    """Passes 200 tokens through the network, so many at a time; seconds, the best of three."""
    best = math.inf
    for _ in range(3):
        cache, began = lm.Cache(1), time.perf_counter()
        for at in range(0, 200, chunk):
            network(ids[:, at : at + chunk], cache, slot)
        best = min(best, time.perf_counter() - began)
    return best


# %%
reading, writing = seconds_for(200), seconds_for(1)
observe(
    "200 tokens at once are faster than one at a time",
    reading < writing,
    f"{1000 * reading:.0f} ms against {1000 * writing:.0f} ms",
)

# %% [markdown]
# Both ways multiply each token by the same weights. The difference lies in how often the weights are read. A pass reads
# every weight once, and uses it twice (one multiplication, one addition) for each token. With $b$ tokens in a pass
# and 2 bytes a weight, that is $2b/2 = b$ operations per byte. Lesson 13's roofline says what follows. A processor
# that could do 100 operations in the time of reading one byte is busy to 1 % at $b = 1$. **Decode is bound by
# memory.**
#
# Our network is too small to show it, since all its weights stay near the processor. One layer of a large model does
# not fit there. We multiply by a matrix of 4,096 × 4,096, for 1 to 16 tokens.

# %%
matrix = torch.randn(4096, 4096)
times = {}
for b in (1, 2, 4, 8, 16):
    rows = torch.randn(b, 4096)
    runs = []
    for _ in range(12):
        began = time.perf_counter()
        rows @ matrix.T
        runs.append(time.perf_counter() - began)
    times[b] = min(runs)
print({b: f"{1000 * seconds:.1f} ms" for b, seconds in times.items()})

# %%
observe(
    "16 tokens cost less than 8 times as much as one",
    times[16] < 8 * times[1],
    f"{times[16] / times[1]:.1f} times",
    either=True,
)
read_gb_s = matrix.nbytes / times[1] / 1e9

# %% [markdown]
# (Other programs on the machine disturb such a measurement. Repeat it if it says "otherwise". On our machine the step
# from 1 to 2 tokens is the largest. From 2 to 16 the time does not even double.) A pass for one token takes at least
# as long as reading the weights. That gives a floor for any model and machine.

# %%
rows = [
    [name, f"{gigabytes} GB", f"{1000 * gigabytes / bandwidth:,.1f} ms"]
    for name, gigabytes, bandwidth in (
        ("this machine, 8 billion weights in 16 bits", 16, read_gb_s),
        ("a card with 1,000 GB/s, the same", 16, 1000),
        ("a card with 1,000 GB/s, in 4 bits", 4, 1000),
    )
]

# %%
show.table(
    ["where", "read for each token", "at least"],
    rows,
    caption="Weights ÷ bandwidth: a floor for one token",
)

# %% [markdown]
# There are two ways to a lower cost per token: read fewer bytes (fewer bits, lesson 26b), or make more tokens with
# each read. The second way is a batch.
#
# ## How can many requests share one pass?
#
# Put the next token of several sequences into one pass. Each sequence has its own slot in the cache and its own
# length.

# %%
rates = {}
with torch.inference_mode():
    for b in (1, 2, 4, 8, 16, 32):
        cache, slots, last = lm.Cache(b), torch.arange(b), ids[:, :1].expand(b, 1)
        network(ids[:, :40].expand(b, 40), cache, slots)
        began = time.perf_counter()
        for _ in range(30):
            network(last, cache, slots)
        rates[b] = 30 * b / (time.perf_counter() - began)
print({b: f"{rate:,.0f} tokens/s" for b, rate in rates.items()})

# %%
observe(
    "8 sequences make more tokens a second than one",
    rates[8] > rates[1],
    f"{rates[8] / rates[1]:.1f} times",
)

# %% [markdown]
# Lesson 14 batched pictures: it stacked the requests that were waiting, computed once, and answered them all together.
# For text that works badly, since answers have different lengths. In *static batching* the whole batch runs until its
# longest answer is done. The short ones keep their slots for nothing, and new requests wait.
#
# *Continuous batching* decides again at every step. A finished request leaves at once, and a waiting one takes its
# slot. This was the idea of Orca (2022). A scheduler for both fits on a page:


# %%
@torch.inference_mode()
def best_tokens(cache, slots, ids):
    logits = network(torch.tensor(ids), cache, torch.tensor(slots))
    return logits[:, -1].argmax(1).tolist()


# %%
def serve(requests, slots, continuous):
    """Greedy answers to [(prompt, length), …], who got which slot when, and all steps."""
    cache, waiting = lm.Cache(slots), deque(range(len(requests)))
    running, answers, starts, step = {}, {}, [], 0
    while waiting or running:
        if continuous or not running:
            for slot in range(slots):
                if waiting and slot not in running:
                    running[slot] = request = waiting.popleft()
                    starts.append((slot, request, step))
                    cache.lengths[slot] = 0  # what an earlier request left there is overwritten
                    answers[request] = best_tokens(cache, [slot], [requests[request][0]])
        live = [slot for slot, r in running.items() if len(answers[r]) < requests[r][1]]
        if live:
            last = [[answers[running[slot]][-1]] for slot in live]
            for slot, token in zip(live, best_tokens(cache, live, last), strict=True):
                answers[running[slot]].append(token)
        step += 1
        full = [slot for slot, r in running.items() if len(answers[r]) == requests[r][1]]
        if continuous or len(full) == len(running):
            for slot in full:
                del running[slot]
    return answers, starts, step


# %% [markdown]
# Only the two `if continuous` lines make the difference. The first decides when requests may enter, the second when
# they may leave. We send 48 requests. Their lengths differ as real ones do, many short and a few long.

# %%
random = np.random.default_rng(0)
lengths = np.clip(random.geometric(1 / 40, 48), 4, 200).tolist()
places = random.integers(0, len(unseen) - 8, 48)
requests = [(unseen[at : at + 6].tolist(), n) for at, n in zip(places, lengths, strict=True)]
print(f"48 requests for {sum(lengths):,} tokens, from {min(lengths)} to {max(lengths)} each")
guess("steps", "What share of static batching's steps does continuous batching need?", share=True)

# %% [markdown]
# We answer them one at a time, in static batches of 8, and continuously in 8 slots.

# %%
runs = {}
for name, slots, continuous in (("alone", 1, True), ("static", 8, False), ("continuous", 8, True)):
    began = time.perf_counter()
    runs[name] = (*serve(requests, slots, continuous), time.perf_counter() - began)
rows = [
    [name, f"{step:,}", f"{s:.2f} s", f"{sum(lengths) / s:,.0f}"]
    for name, (_, _, step, s) in runs.items()
]
steps = {name: run[2] for name, run in runs.items()}
reveal("steps", steps["continuous"] / steps["static"])

# %%
show.table(
    ["schedule", "steps", "seconds", "tokens a second"], rows, caption="The same 48 requests"
)

# %% [markdown]
# The seconds shrink less than the steps. A pass with eight sequences takes longer here than a pass with two, and each
# of the 48 prompts costs one more pass under either schedule. And fewer steps would be worthless if the neighbours in
# a pass changed an answer. Do they?

# %%
claim(
    "continuous batching needs less than 0.65 of the steps, and changes no token of any answer",
    steps["continuous"] < 0.65 * steps["static"]
    and runs["alone"][0] == runs["static"][0] == runs["continuous"][0],
    f"{steps['continuous'] / steps['static']:.2f} of the steps",
)

# %%
observe(
    "eight slots are faster than one",
    runs["continuous"][3] < runs["alone"][3],
    f"{runs['alone'][3] / runs['continuous'][3]:.1f} times",
)

# %% [markdown]
# Each bar below is a request. A gap is a slot that does nothing.

# %%
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 3.6))
for axis, name in zip(axes, ("static", "continuous"), strict=True):
    for slot, request, step in runs[name][1]:
        axis.barh(
            slot,
            lengths[request],
            left=step,
            color=plt.cm.cividis(request / 48),
            edgecolor="white",
            height=0.9,
        )
    axis.set_ylabel(f"{name}\nslot")
    axis.set_yticks(range(0, 8, 2))
axes[1].set_xlabel("step")
show.finding(
    "Static batching leaves slots empty until the longest answer ends",
    alt="Requests as bars in 8 slots. Static: gaps before each batch. Continuous: no gaps.",
)

# %% [markdown]
# A prefill is a pass of its own, and all running requests wait for it. With prompts of thousands of tokens, the other
# users see their text stop. *Chunked prefill* cuts long prompts into pieces and puts one piece into each step.
#
# ## What does the API look like?
#
# Many clients speak the form of OpenAI's API, so many servers do too. Ours has `POST /v1/completions`, `GET
# /v1/models` and `/metrics`. Its scheduler is the one above, with sampling (`course_lib/language/engine.py`), in a
# thread beside Starlette (`server.py`). As typed:
#
# ```bash
# python -m course_lib.language.server --port 8600 --slots 8
# curl -N http://127.0.0.1:8600/v1/completions -H "Content-Type: application/json" -d "@request.json"
# ```
#
# where `request.json` holds `{"model": "manual_lm", "prompt": "The statement", "max_tokens": 5, "stream": true}`.
# With `"stream": true` the server sends each piece of text as soon as it exists. The format is *server-sent events*
# (SSE): a line `data:` with JSON, and an empty line after each event. The last event is `[DONE]`.

# %%
server = start_module(
    "course_lib.language.server", ["--slots", "8", "--most-waiting", "16"], scratch / "server.log"
)


# %%
def post(**fields):
    """Sends a completion request; the connection and the answer, its body not yet read."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    body = {"model": "manual_lm", "prompt": "The statement", "temperature": 0} | fields
    connection.request(
        "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    return connection, connection.getresponse()


# %%
connection, answer = post(max_tokens=3, stream=True)
print(answer.status, answer.headers["Content-Type"])
print(answer.read().decode())
connection.close()

# %% [markdown]
# Client libraries read this for you. With OpenAI's own (`pip install openai`), only the address is different:
#
# ```python
# client = openai.OpenAI(base_url="http://127.0.0.1:8600/v1", api_key="none")
# for chunk in client.completions.create(model="manual_lm", prompt="The statement", stream=True):
#     print(chunk.choices[0].text, end="")
# ```
#
# The course's tests stream from this server with exactly that library. **Where this goes wrong:** a client that takes
# each packet from the network for one event. The network may cut anywhere, even inside a character. In exercise 26.3
# you write a parser that works wherever the cuts are. A token may also be half a character. The server holds it back
# until the other half comes.
#
# Is a streamed answer the same as one in a single piece?

# %%
connection, answer = post(max_tokens=60, stream=True)
events = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
streamed = "".join(json.loads(each)["choices"][0]["text"] for each in events[:-1])
whole = json.load(post(max_tokens=60)[1])["choices"][0]

# %%
claim(
    "streamed or whole, the text is the same, and it is the one that we computed ourselves",
    streamed == whole["text"] == pieces.decode(slow[len(pieces.encode("The statement")) :][:60]),
    f"finish_reason {whole['finish_reason']}",
)

# %% [markdown]
# `finish_reason` says why the text ends. `length` means that `max_tokens` was reached, `stop` that the model or a stop
# text ended it. A client that ignores it shows half sentences. Stop texts are exercise 26.4.
#
# ## What must such a server refuse?
#
# In the earlier services every picture cost the same. The cost of a text request depends on its prompt and on
# `max_tokens`, and the client chooses both. So limits count *tokens*, not requests. What does the server say to
# requests that make no sense?

# %% [markdown]
# Seven such requests:

# %%
bad = (
    {"max_tokens": 100_000},
    {"max_tokens": 0},
    {"temperature": "hot"},
    {"prompt": ""},
    {"prompt": "a" * 5000},
    {"top_p": 0.9},
    {"model": "gpt-x"},
)
refusals = []
for fields in bad:
    connection, answer = post(**fields)
    refusals.append((answer.status, json.load(answer)["error"]["message"]))
    connection.close()

# %%
show.table(
    ["sent", "status", "the server says"],
    [[str(fields)[:30], *said] for fields, said in zip(bad, refusals, strict=True)],
    caption="Seven requests that are refused",
)

# %%
claim(
    "each is answered as the client's mistake",
    {status for status, _ in refusals} == {400, 404},
)

# %% [markdown]
# `top_p` is a field of OpenAI's API that our server does not support, so it refuses the request. To ignore the field
# would be worse, since the client would believe that it had an effect. The long prompt is refused before it is
# encoded. No token has more than 17 bytes, so 5,000 bytes need 295 tokens or more. To encode a huge prompt takes
# time, and all other streams would stand still meanwhile.
#
# ## What happens when the client leaves?
#
# Users close the page when they have read enough. If the server does not notice, it goes on writing for nobody, in a
# slot that others wait for. We ask for 240 tokens twice, read the first event, and leave.


# %%
def metrics():
    lines = DIRECT.open(server.url + "/metrics").read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
    }


# %%
def until(name, value, seconds=20):
    """Waits until a metric has this value, and returns all of them."""
    end = time.monotonic() + seconds
    while (now := metrics()).get(name, 0) != value and time.monotonic() < end:
        time.sleep(0.02)
    return now


# %% [markdown]
# The server counts what became of each request, and each token that it makes.

# %%
before = metrics()
for _ in range(2):
    connection, answer = post(max_tokens=240, stream=True)
    answer.readline()
    answer.close()
    connection.close()
after = until("lm_requests_running", 0)
left, made = (
    after.get(name, 0) - before.get(name, 0)
    for name in ('lm_requests_total{outcome="cancelled"}', 'lm_tokens_total{kind="generated"}')
)

# %%
claim(
    "both are counted as cancelled, and their slots are free",
    left == 2 and after["lm_requests_running"] == 0,
)

# %%
observe("they were stopped long before their 480 tokens", made < 240, f"{made:.0f} tokens made")

# %% [markdown]
# It is not enough that the web framework drops the connection. The *scheduler* must hear of it. Here the handler marks
# the request as `gone`, and the next step frees its slot.
#
# ## Which latencies do users feel?
#
# One number is not enough for a stream:
#
# - *time to first token* (TTFT): how long the user sees nothing. It includes the time in the queue and the prefill.
# - *time per output token*: how fast the text flows afterwards. Somebody who reads 240 words a minute needs
#   four words a second.
#
# The p99 of whole requests mixes both with the length of the answers. The customer of 3 a.m. raises it just by asking
# for longer ones. The server keeps a histogram of each (lesson 20). We send 1, 8 and 24 requests at once. The server
# has 8 slots, and lets 16 wait.


# %%
def burst(count):
    """So many requests at once; the means of both latencies in ms, by the server."""
    old = until("lm_requests_running", 0)

    def one(i):
        connection, answer = post(
            max_tokens=60, stream=True, prompt=held_out[40 * i : 40 * i + 60]
        )
        answer.read()
        connection.close()

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))
    new = until("lm_requests_running", 0)
    grew = {name: new[name] - old.get(name, 0) for name in new}
    names = ("lm_time_to_first_token_seconds", "lm_time_per_output_token_seconds")
    return [1000 * grew[f"{name}_sum"] / grew[f"{name}_count"] for name in names]


# %% [markdown]
# Both histograms have a sum and a count, so their growth gives a mean.

# %%
burst(1)  # the first call warms up
latencies = {count: burst(count) for count in (1, 8, 24)}

# %%
show.table(
    ["requests at once", "time to first token", "time per token"],
    [[count, f"{first:.1f} ms", f"{token:.1f} ms"] for count, (first, token) in latencies.items()],
    caption="Eight slots: means of the server's histograms",
)

# %%
observe(
    "from 8 to 24 requests, the first token takes more than twice as long, a later one less",
    latencies[24][0] > 2 * latencies[8][0] and latencies[24][1] < 2 * latencies[8][1],
)

# %% [markdown]
# Waiting shows in the time to the first token, and sharing shows in the time per token. The cures differ. A late first
# token asks for more slots or more servers. A slow flow asks for fewer slots, faster decoding, or shorter prompts from
# the other clients. Two more numbers complete the dashboard: how many requests wait, and how full the cache is. Lesson
# 26b scales by them.
#
# The queue is bounded. A request that finds 16 others waiting gets a 429, and its client may try again later. We send 40
# at once.


# %%
def status(_):
    connection, answer = post(max_tokens=120)
    answer.read()
    connection.close()
    return answer.status


with ThreadPoolExecutor(40) as pool:
    statuses = Counter(pool.map(status, range(40)))

# %%
claim(
    "each request is answered or refused at once, none fails",
    statuses.keys() <= {200, 429},
    dict(statuses),
)

# %%
observe("some were refused", statuses[429] > 0, f"{statuses[429]} of 40", either=True)

# %% [markdown]
# ## What we measured

# %%
server.stop()
rows = [
    ["bits per character: counts, transformer", f"{min(counted.values()):.2f}, {bits:.2f}"],
    ["200 tokens: without cache, with cache", f"{slow_s:.2f} s, {fast_s:.2f} s"],
    ["cache, bytes a token", f"{ours:,}"],
    ["steps for 48 requests: static, continuous", f"{steps['static']}, {steps['continuous']}"],
    [
        "first token at 8 and 24 requests at once",
        f"{latencies[8][0]:.0f} ms, {latencies[24][0]:.0f} ms",
    ],
]

# %%
show.table(["what", "figure"], rows, caption="A language model behind an API")

# %% [markdown]
# ## What to remember
#
# - Reading a prompt is one pass. Writing is one pass for each token, bound by memory: cache keys and values, and share
#   each pass among many requests.
# - Admit and release requests at every step. Count tokens, not requests, in limits, metrics and prices.
# - Watch the time to the first token and the time per token apart, and stop work for clients that left.
#
# ## Where this breaks down
#
# Our network is so small that Python's own work dominates each pass. Do not expect these factors on large models. Each
# slot here reserves the longest possible text, which wastes most of the cache (26b). A prefill blocks everyone, and a
# client that reads or sends slowly is not disconnected. The server checks no keys (lesson 22) and limits no customer's
# rate (22c). Bits per character say how well a model predicts, not whether its answers are right or safe. Held-out
# paragraphs of one manual resemble those it learned from, so our bits flatter both models.
#
# ## What real teams use
#
# vLLM, SGLang and TensorRT-LLM on GPUs, and llama.cpp on laptops. All of them have a KV cache, continuous batching
# (TensorRT-LLM calls it in-flight batching) and an API in OpenAI's form. vLLM names its metrics
# `vllm:time_to_first_token_seconds` and `vllm:num_requests_waiting`. Lesson 26b compares the engines. Write your own
# server to understand one, not to run it.
#
# ## Further reading
#
# - A. Vaswani et al., *Attention Is All You Need*, NeurIPS 2017.
# - R. Sennrich, B. Haddow, A. Birch, *Neural Machine Translation of Rare Words with Subword Units*, ACL 2016.
# - O. Press, N. A. Smith, M. Lewis, *Train Short, Test Long* (ALiBi), ICLR 2022.
# - G.-I. Yu et al., *Orca: A Distributed Serving System for Transformer-Based Generative Models*, OSDI 2022.
# - I. H. Witten, T. C. Bell, *The Zero-Frequency Problem*, IEEE Transactions on Information Theory 37 (1991).
# - WHATWG, *HTML Standard*, section Server-sent events. vLLM documentation, *Production Metrics*.
