# %% [markdown]
# # 11b Deep Compression
#
# At 3 a.m. the firmware update fails on ten thousand devices. The radio link is open for a few minutes a night, and
# the new model takes longer to send. The network is pruned already. How much smaller can its file get, and does the
# device get the same network back?
#
# ## You will be able to
#
# - compress a network by pruning, weight sharing and Huffman coding, and decode it from its file alone;
# - compute how many bits a weight's place and its value take, and compare codes with their lower bound, the entropy;
# - judge a compression rate by the baseline behind it;
# - say how well a pruned network trains with the same mask but new first weights: the *lottery ticket* experiment.
#
# ## Before you start
#
# You need lesson 11: masks, global pruning, the cubic schedule. Lesson 09 explains how a few values can stand for many
# weights.

# %%
import copy
import heapq

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from course_lib import data, torch_models, torch_stacks
from course_lib.idioms import begin, claim, guess, ledger, path, reveal, show

scratch = begin("11b")
torch.set_num_threads(1)  # the networks are small, and one thread is the same everywhere
path.picture(here="11b")

# %% [markdown]
# ## How small can the file of a network become?
#
# *Deep Compression* (Han, Mao and Dally, 2016) has three stages. Each works on the result of the one before. First,
# prune the network. Second, let the remaining weights *share* a few values. Third, give short codes to frequent
# symbols.
#
# The paper's small example is LeNet-300-100: 784 inputs, hidden layers of 300 and 100, 10 outputs. It reads MNIST's
# pictures of 28 × 28 points. MNIST does not ship with the course, so we enlarge our digits to 28 × 28 points. The
# section "Smaller than what?" says what that changes.

# %%
guess("rate", "How many times smaller can this network's file become?", low=1, high=100)

# %% [markdown]
# Each of the 784 points is a weighted mean of the old 64. So enlarging is a product with a matrix $E$, of shape
# $(64, 784)$. Take the picture with a 1 at point $i$ and 0 elsewhere, and enlarge it: that is row $i$ of $E$. We
# enlarge these 64 pictures once. After that, one product enlarges a whole batch.

# %%
train_part, test = data.digits()
fit, _ = data.hold_out(train_part)
enlarge = torch.from_numpy(data.upscaled(np.eye(64, dtype=np.float32).reshape(64, 8, 8), 28))
enlarge = enlarge.reshape(64, 784)
test_rows = torch.from_numpy(test.images.reshape(-1, 64)) @ enlarge  # (450, 784)


# %%
def lenet():
    hidden = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(100, 10))


def weights_of(network):
    return [layer.weight for layer in network if hasattr(layer, "weight")]


# %%
def logits_of(network):
    with torch.inference_mode():
        return network(test_rows).numpy()


def right(network):
    return logits_of(network).argmax(1) == test.labels  # (450,), True where right


# %% [markdown]
# The training loop is that of lesson 11, with 17 batches in an epoch. It takes the network's function and its
# parameters separately, because later we train a network whose weights come from a table. `after_step` may prune
# after each step.


# %%
def train_on(forward, parameters, *, epochs, rate, seed=0, after_step=None):
    pixels, labels = torch.from_numpy(fit.images)[:, None], torch.from_numpy(fit.labels)
    torch.manual_seed(seed)
    optimizer, steps, done = torch.optim.Adam(parameters, fused=True), 17 * epochs, 0
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels))[: 17 * 64].split(64):
            optimizer.zero_grad()
            large = torch_models.shifted(pixels[chosen]).reshape(-1, 64) @ enlarge
            nn.functional.cross_entropy(forward(large), labels[chosen]).backward()
            optimizer.step()
            cycle.step()
            done += 1
            if after_step:
                with torch.no_grad():
                    after_step(done, steps)


# %% [markdown]
# First we train the dense network. It gets more epochs than the pruning after it, because a poor baseline would
# flatter the compression. All later files are compared with its file.


# %%
def bytes_of(name):
    return (scratch / name).stat().st_size


def dense_network(seed):
    torch.manual_seed(seed)
    network = lenet()
    train_on(network, network.parameters(), epochs=32, rate=5e-3, seed=seed)
    return network


# %%
whole = dense_network(0)
save_file(whole.state_dict(), scratch / "lenet.safetensors")
size = {"dense": bytes_of("lenet.safetensors")}
print(f"{100 * right(whole).mean():.1f} % right, {size['dense']:,} bytes")

# %% [markdown]
# ## Stage 1: how many bits does it take to say where the weights are?
#
# We remove 90 % of the weights on the cubic schedule, with one cut in each epoch, during the first 60 % of the
# training. (The paper pruned this network to 8 % of its weights.)


# %%
def pruned(network, final=0.9, epochs=24):
    network = copy.deepcopy(network)
    weights = weights_of(network)
    masks = [torch.ones_like(weight) for weight in weights]

    def after_step(done, steps):
        if done % 17 == 0:
            left = 1 - min(1, done / steps / 0.6)
            every = torch.cat([weight.abs().flatten() for weight in weights])
            least = every.kthvalue(round(final * (1 - left**3) * len(every))).values
            masks[:] = [weight.abs() > least for weight in weights]
        for weight, mask in zip(weights, masks):
            weight *= mask

    train_on(network, network.parameters(), epochs=epochs, rate=5e-3, after_step=after_step)
    return network


# %%
lean = pruned(whole)
matrices = [w.detach().numpy() for w in weights_of(lean)]
kept = [np.count_nonzero(matrix) / matrix.size for matrix in matrices]
print(
    f"{100 * right(lean).mean():.1f} % right; kept:", ", ".join(f"{100 * k:.1f} %" for k in kept)
)

# %% [markdown]
# CSR in lesson 11 spent 32 bits on the column of each weight. For layers like ours, the paper spends 5. Read the
# matrix row by row. For each weight, write how many zeros lie between it and the weight before it. This number is its
# *gap*. Five bits hold gaps up to 31. A longer run of zeros needs a *filler*, an entry with the value 0. A filler
# skips 31 zeros and takes the place of the next one.
#
# Here is an example with 2 bits, so with gaps up to 3: the row 0 0 5 0 0 0 0 0 7. The 5 has gap 2. Five zeros precede
# the 7, which is too many. So a filler with gap 3 takes the place of the fourth zero, and one zero is left. We store
# the gaps 2, 3, 1 and the values 5, 0, 7.


# %%
def relative(matrix, bits=5):
    """The gap before each entry, and its place in `matrix.ravel()`, −1 for a filler."""
    longest, gaps, where, at = 2**bits - 1, [], [], -1
    for place in np.flatnonzero(matrix):
        gap = int(place) - at - 1
        while gap > longest:
            gaps.append(longest)
            where.append(-1)
            gap -= longest + 1
        gaps.append(gap)
        where.append(int(place))
        at = int(place)
    return np.array(gaps), np.array(where)


# %%
gaps, where = relative(np.array([0, 0, 5, 0, 0, 0, 0, 0, 7]), bits=2)
print("gaps", gaps, "places", where)

# %% [markdown]
# **Your turn:** change `bits=2` to `bits=3`. Is a filler still needed? Next we code our three layers, with 5 bits:

# %%
coded = [relative(matrix) for matrix in matrices]
weights_left = sum(np.count_nonzero(matrix) for matrix in matrices)
bits_for_places = 5 * sum(len(gaps) for gaps, _ in coded) / weights_left
claim(
    "fillers included, a place costs less than a fifth of CSR's 32 bits",
    bits_for_places < 32 / 5,
    f"{bits_for_places:.2f} bits for each weight that is left",
)

# %% [markdown]
# Are the weights spread evenly? If each one stayed with probability $d$, independently of the others, a share $d$ of
# the gaps would be 0.

# %%
none = (coded[0][0] == 0).mean()
columns = np.random.default_rng(0).permutation(784)
mixed = (relative(matrices[0][:, columns])[0] == 0).mean()

# %%
claim(
    "in the first layer, gaps of 0 are more than twice as frequent as with the inputs in random "
    "order",
    none > 2 * mixed,
    f"{100 * none:.0f} %, in random order {100 * mixed:.0f} %; d is {100 * kept[0]:.0f} %",
)

# %% [markdown]
# The weights are not spread evenly. They come in runs, with long gaps in between. A likely reason is that
# neighbouring points were interpolated from the same old points, so they carry almost the same information. The runs
# will help in stage 3.
#
# Now we write the file. Each layer begins with its rows, its columns and the number of entries, 4 bytes each. Then
# come the biases, the gaps with 5 bits each, and the values with 4 bytes each, fillers included. A program that knows
# this order needs no separators. `"<u4"` and `"<f4"` are NumPy's names for 4-byte unsigned integers and floats,
# lowest byte first, on every machine.


# %%
def fixed(symbols, bits):  # symbols as a text of zeros and ones
    return "".join(f"{int(symbol):0{bits}b}" for symbol in symbols)


def to_bytes(bits):  # the last byte is filled up with zeros
    return np.packbits(np.frombuffer(bits.encode(), np.uint8) - ord("0")).tobytes()


def head(network, k):  # what every stage stores of layer k
    layer = network[2 * k]
    counts = np.array([*layer.weight.shape, len(coded[k][0])], "<u4")
    return counts.tobytes() + layer.bias.detach().numpy().astype("<f4").tobytes()


# %%
def write(name, stage, parts):
    (scratch / name).write_bytes(b"".join(parts))
    size[stage] = bytes_of(name)
    print(f"{size[stage]:,} bytes, {size['dense'] / size[stage]:.1f} times smaller")


# %%
parts = []
for k, (matrix, (gaps, where)) in enumerate(zip(matrices, coded)):
    values = np.where(where < 0, 0, matrix.ravel()[where]).astype("<f4")
    parts += [head(lean, k), to_bytes(fixed(gaps, 5)), values.tobytes()]
write("1_pruned.bin", "pruned", parts)

# %% [markdown]
# **Now do exercise 11b.1**: from gaps back to a matrix.
#
# ## Stage 2: how few values can the weights share?
#
# Most of the remaining bytes are float32 values. Replace each value by the nearest of 31 shared values, the
# *centroids* of its layer. Then a weight is stored as a number of 5 bits, its *cluster*. (There are 31 centroids,
# because the filler's zero takes one of the 32 numbers.) The list of centroids is the *codebook*. With $n$ weights of
# $b$ bits and $k$ clusters, the values become smaller by the factor
#
# $$r = \frac{n b}{n \log_2 k + k b},$$
#
# where $kb$ is the size of the codebook in bits. *k-means* finds the centroids: assign each value to the nearest
# centroid, move each centroid to the mean of its values, and repeat. In one dimension, the nearest centroid changes
# at the midpoints between centroids, so a sorted search finds it. The paper starts with evenly spread centroids, so
# that the few large weights get some of their own: it finds that large weights matter more.


# %%
def clustered(values, count=31, rounds=40):
    """Centroids (count,), ascending, and each value's cluster."""
    centroids = np.linspace(values.min(), values.max(), count)
    for _ in range(rounds):
        owner = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        many = np.bincount(owner, minlength=count)
        sums = np.bincount(owner, values, minlength=count)
        centroids = np.where(many > 0, sums / np.maximum(many, 1), centroids)
    return centroids.astype(np.float32), owner


# %% [markdown]
# A cluster without values keeps its centroid. `clusters` has the shape of a layer's weights and holds a number from 0
# to 31 for each of them. `with_codebooks` replaces the numbers by their values again.


# %%
def shared_values(matrices):
    """Codebooks, and the number of each weight: 0 for a zero, else its cluster + 1."""
    books, clusters = [], []
    for matrix in matrices:
        book, owner = clustered(matrix[matrix != 0])
        number = np.zeros(matrix.shape, np.int64)
        number[matrix != 0] = owner + 1
        books.append(book)
        clusters.append(number)
    return books, clusters


# %%
def with_codebooks(network, books, clusters):
    network = copy.deepcopy(network)
    with torch.no_grad():
        for weight, book, number in zip(weights_of(network), books, clusters):
            weight.copy_(torch.from_numpy(np.append(np.float32(0), book)[number]))
    return network


# %%
codebooks, clusters = shared_values(matrices)
shared = with_codebooks(lean, codebooks, clusters)
claim(
    "31 values for each layer are enough: at most 1 point of accuracy is lost",
    right(lean).mean() - right(shared).mean() <= 0.01,
    f"{100 * right(lean).mean():.1f} %, then {100 * right(shared).mean():.1f} %",
)

# %% [markdown]
# The centroids can be trained. Let $I_{ij}$ be the cluster of weight $w_{ij}$, and $q_c$ the centroid of cluster $c$,
# so that $w_{ij} = q_{I_{ij}}$. By the chain rule, the gradient with respect to a centroid is the sum of the
# gradients with respect to its weights:
#
# $$\frac{\partial L}{\partial q_c} = \sum_{i,j:\, I_{ij} = c} \frac{\partial L}{\partial w_{ij}} .$$
#
# If the weights are computed as `q[I]`, autograd computes this sum. `by_codebook` is the network with the codebooks
# as its only parameters. Entry 0 is fixed at zero, so pruned weights stay zero.


# %%
def parameters_from(codebooks):
    return [torch.from_numpy(book.copy()).requires_grad_() for book in codebooks]


books = parameters_from(codebooks)
tables = [torch.from_numpy(number) for number in clusters]


# %%
def by_codebook(x):
    for k, (book, table) in enumerate(zip(books, tables)):
        weight = torch.cat([torch.zeros(1), book])[table]
        x = nn.functional.linear(x, weight, lean[2 * k].bias.detach())
        x = x.relu() if k < 2 else x
    return x


# %% [markdown]
# We compare autograd's gradient with the formula: `bincount` sums the gradient of the ordinary network's weights by
# cluster.

# %%
labels = torch.from_numpy(test.labels)
of_books = torch.autograd.grad(nn.functional.cross_entropy(by_codebook(test_rows), labels), books)
of_weights = torch.autograd.grad(
    nn.functional.cross_entropy(shared(test_rows), labels), weights_of(shared)
)

# %%
apart = max(
    np.abs(np.bincount(n.ravel(), w.numpy().ravel(), 32)[1:] - q.numpy()).max()
    for n, w, q in zip(clusters, of_weights, of_books)
)
claim("autograd's gradient of the centroids is the formula's", apart < 1e-4, f"{apart:.0e}")

# %% [markdown]
# We train the codebooks for five epochs and write the file. Stage 1 stored each value in 32 bits. Now its cluster
# takes 5 bits, and each layer stores its 31 centroids once.

# %%
books = parameters_from(codebooks)  # from the start, when this cell runs again
train_on(by_codebook, books, epochs=5, rate=2e-3, seed=1)
trained_books = [book.detach().numpy() for book in books]
shared = with_codebooks(lean, trained_books, clusters)

# %%
streams = [  # for each layer: gaps, and clusters with 0 for a filler
    (gaps, np.where(where < 0, 0, number.ravel()[where]))
    for (gaps, where), number in zip(coded, clusters)
]

# %%
parts = []
for k, (gaps, numbers) in enumerate(streams):
    parts += [head(shared, k), trained_books[k].astype("<f4").tobytes()]
    parts.append(to_bytes(fixed(gaps, 5) + fixed(numbers, 5)))
write("2_clustered.bin", "clustered", parts)

# %% [markdown]
# ## Stage 3: how do short codes for frequent symbols save bits?
#
# Every symbol still takes 5 bits, however frequent it is.

# %%
guess("bits", "How many bits will a gap of the first layer take on average?", low=1, high=5)

# %% [markdown]
# How frequent are the gaps?

# %%
counts = np.bincount(streams[0][0], minlength=32)
frequency = counts / counts.sum()
plt.bar(np.arange(32), 100 * frequency, color=show.BLUE)
plt.axhline(100 / 32, color=show.ORANGE, ls="--", label="32 symbols used evenly")
plt.xlabel("gap before an entry of the first layer (zeros)")
plt.ylabel("share of the entries (%)")
plt.legend()
show.finding(
    f"{100 * frequency[0]:.0f} % of the gaps are 0; used evenly, each symbol would have 3 %",
    alt=f"Bars over the gaps 0 to 31. Gap 0 has {100 * frequency[0]:.0f} %, gap 31, which holds "
    f"the fillers, {100 * frequency[31]:.0f} %, the others at most "
    f"{100 * frequency[1:31].max():.0f} %",
)

# %% [markdown]
# The mean length of a code is at least the entropy of its symbols. (You may skip the proof, which ends with the next
# formula.) Let symbol $s$ have probability $p_s$ and a code of $\ell_s$ bits. The mean length is $\bar\ell = \sum_s p_s
# \ell_s$. If no code is the beginning of another, you can tell them apart without separators, and the lengths obey
# *Kraft's inequality*, $\sum_s 2^{-\ell_s} \le 1$. With the entropy of lesson 02, here in bits, $H = \sum_s p_s \log_2
# \frac{1}{p_s}$,
#
# $$H - \bar\ell = \sum_s p_s \log_2 \frac{2^{-\ell_s}}{p_s} \;\le\; \log_2 \sum_s 2^{-\ell_s} \;\le\; 0 .$$
#
# The first "≤" holds because the logarithm is concave: the mean of logarithms is at most the logarithm of the mean.
# So the mean length of such a code is at least the entropy. The mean length of *Huffman's* code is less than one bit
# above it. His method joins the two rarest symbols into one, again and again. Each join makes the codes of all
# symbols in it one bit longer.
#
# An example: the symbols a to e have the counts 8, 4, 2, 1, 1. Join d and e; together they count 2. Join this pair
# with c, which gives 4. Join the result with b, which gives 8. Join the result with a, which gives 16, and nothing is
# left to join. Symbol a was in one join, b in two, c in three, d and e in four. These are the lengths of their codes.
#
# A *heap* is a list that yields its smallest element quickly. Each of our entries holds a count, a symbol, and the
# list of joined symbols. If two counts are equal, the smaller symbol comes first, on every machine.


# %%
def huffman_lengths(counts):
    """Bits for each symbol; 0 for a symbol that never comes."""
    heap = [(int(c), s, [s]) for s, c in enumerate(counts) if c]
    lengths = np.zeros(len(counts), np.uint8)
    lengths[[s for _, s, _ in heap]] = len(heap) == 1  # a lone symbol still takes one bit
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, some), (b, _, others) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[some + others] += 1
        heapq.heappush(heap, (a + b, first, some + others))
    return lengths


# %% [markdown]
# Lengths are not codes yet. Sort the symbols by length, then by number. The first code is all zeros. Each later code
# is the one before it plus 1. If the length grows, append zeros.


# %%
def canonical(lengths):
    """The codes that belong to these lengths, counted upwards. {symbol: "0101"}"""
    code, before, codes = 0, 0, {}
    for length, symbol in sorted((int(n), s) for s, n in enumerate(lengths) if n):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes


# %%
example = huffman_lengths([8, 4, 2, 1, 1])
print("lengths", example, "codes", canonical(example))

# %% [markdown]
# Such a code is called *canonical*. The lengths alone determine it. So the file needs only 32 bytes for each code,
# one length for each symbol. gzip's format does the same. We have six streams: the gaps and the clusters of three
# layers.

# %%
rows, bounds = [], []
for k, both in enumerate(streams):
    for name, symbols in zip(("gaps", "clusters"), both):
        counts = np.bincount(symbols, minlength=32)
        p = counts[counts > 0] / counts.sum()
        entropy = float(-(p * np.log2(p)).sum())
        length = float((counts * huffman_lengths(counts)).sum() / counts.sum())
        bounds.append(entropy <= length + 1e-9 and length < entropy + 1)
        rows.append([f"layer {k + 1}, {name}", f"{entropy:.3f}", f"{length:.3f}"])

# %%
show.table(
    ["stream", "entropy", "Huffman"], rows, caption="Bits for each symbol; before, each took 5"
)

# %%
reveal("bits", float(rows[0][2]))
claim(
    "each of the six codes lies between its entropy and one bit more",
    all(bounds),
    f"{rows[0][2]} and {rows[1][2]} bits for the first layer's gaps and clusters",
)

# %% [markdown]
# The last file holds, for each layer, the head as before, the centroids, the lengths of its two codes, and then the
# codes of all gaps and all clusters in one sequence of bits.

# %%
parts = []
for k, both in enumerate(streams):
    lengths = [huffman_lengths(np.bincount(symbols, minlength=32)) for symbols in both]
    bits = ""
    for each, symbols in zip(lengths, both):
        codes = canonical(each)
        bits += "".join(codes[int(symbol)] for symbol in symbols)
    parts += [head(shared, k), trained_books[k].astype("<f4").tobytes()]
    parts += [*(each.tobytes() for each in lengths), to_bytes(bits)]
write("3_huffman.bin", "Huffman", parts)

# %% [markdown]
# **Now do exercise 11b.2**: compute what a Huffman code would save before you write one.
#
# ## How do I get the network back from the file alone?
#
# A compressed file is useful only if a program can rebuild the network from it. Our reader gets the file. It knows
# the format and the architecture, and none of the network's numbers. `array` reads numbers of a fixed size. `decoded`
# adds one bit after another until the bits are a code. It notes the symbol and begins again.


# %%
class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def array(self, dtype, count):
        taken = np.frombuffer(self.raw, dtype, count, offset=self.at)
        self.at += taken.nbytes
        return taken

    def decoded(self, all_lengths, entries):
        """`entries` symbols of each code, one stream after the other; ends on a whole byte."""
        bits = "".join(map(str, np.unpackbits(np.frombuffer(self.raw[self.at :], np.uint8))))
        place, streams = 0, []
        for lengths in all_lengths:
            symbol_of = {code: symbol for symbol, code in canonical(lengths).items()}
            symbols, begun = [], place
            while len(symbols) < entries:
                place += 1
                if bits[begun:place] in symbol_of:
                    symbols.append(symbol_of[bits[begun:place]])
                    begun = place
            streams.append(np.array(symbols))
        self.at += -(-place // 8)
        return streams


# %% [markdown]
# This reader trusts its file. If the bytes end in the middle of the codes, its loop never ends. **Now do exercise
# 11b.3**, which reads a damaged file safely.
#
# Gaps become places in one line. An entry lies `gap + 1` places after the entry before it. So its place in the
# flattened matrix is the running sum of `gaps + 1`, minus 1. A filler writes a zero where a zero is already.


# %%
def read_compressed(raw):
    reader, network = Reader(raw), lenet()
    for layer in (network[0], network[2], network[4]):
        rows, columns, entries = map(int, reader.array("<u4", 3))
        bias, book = reader.array("<f4", rows), reader.array("<f4", 31)
        gaps, numbers = reader.decoded([reader.array("u1", 32), reader.array("u1", 32)], entries)
        matrix = np.zeros(rows * columns, np.float32)
        matrix[np.cumsum(gaps + 1) - 1] = np.append(np.float32(0), book)[numbers]
        layer.weight = nn.Parameter(torch.from_numpy(matrix.reshape(rows, columns)))
        layer.bias = nn.Parameter(torch.from_numpy(bias.astype(np.float32)))
    assert reader.at == len(raw)  # every byte was used
    return network


# %%
decoded = read_compressed((scratch / "3_huffman.bin").read_bytes())
same = all(torch.equal(a, b) for a, b in zip(decoded.parameters(), shared.parameters()))
apart = np.abs(logits_of(decoded) - logits_of(shared)).max()

# %%
claim(
    "the decoded network has the clustered network's numbers, bit for bit, and so its logits, to "
    "rounding",
    same and apart < 1e-4,
    f"{logits_of(decoded).size:,} logits of 450 pictures, apart by {apart:.0e}",
)

# %% [markdown]
# The table compares all stages: the bytes on disk, and the accuracy of the network after each stage.

# %%
stages = {"dense": whole, "pruned": lean, "clustered": shared, "Huffman": decoded}
rate = {name: size["dense"] / size[name] for name in stages}
reveal("rate", rate["Huffman"])

# %%
rows = [
    [name, f"{size[name]:,}", f"{rate[name]:.1f}", f"{100 * right(each).mean():.1f} %"]
    for name, each in stages.items()
]
show.table(
    ["stage", "bytes", "times smaller", "test accuracy"],
    rows,
    caption="Deep Compression, by stage",
)

# %%
claim(
    "the file is 25 times smaller or more; by pruning alone, less than 10 times",
    rate["Huffman"] >= 25 and rate["pruned"] < 10,
    ", ".join(f"{name} {r:.1f} times" for name, r in rate.items()),
)

# %% [markdown]
# The row *clustered* was measured after the centroids were trained. Stage 2 printed the accuracy before that. The two
# may differ by a picture or two of 450, which shows neither a gain nor a loss. The ledger keeps the four forms.

# %%
previous = None
for name, each in stages.items():
    gap = None if previous is None else np.abs(logits_of(each) - logits_of(previous)).max()
    ledger.record(
        "lenet_300_100", name, accuracy=right(each).mean(), bytes=size[name], max_abs_diff=gap
    )
    previous = each

# %% [markdown]
# ## Does compression cost accuracy?
#
# On 450 pictures one mistake is 0.22 points, and both networks are right about nearly all of them. So we count the
# pictures on which exactly one of the two is right, for three seeds. (For the second and third seed we do not train
# the centroids and write no file. Decoding changes no bit, as we saw.)


# %%
def right_before_and_after(seed):
    dense = dense_network(seed)
    lean = pruned(dense)
    small = with_codebooks(lean, *shared_values([w.detach().numpy() for w in weights_of(lean)]))
    return right(dense), right(small)


# %%
pairs = [(right(whole), right(decoded))] + [right_before_and_after(seed) for seed in (1, 2)]
lost = [int((before & ~after).sum()) for before, after in pairs]
won = [int((after & ~before).sum()) for before, after in pairs]
show.table(
    ["seed", "only the dense one is right", "only the compressed one is right"],
    [[seed, *each] for seed, each in enumerate(zip(lost, won))],
    caption="Pictures, of 450",
)

# %%
change = (sum(won) - sum(lost)) / (3 * 450)
claim(
    "over three seeds, compression costs at most 1 point of accuracy",
    change >= -0.01,
    f"{100 * change:+.2f} points: {sum(lost)} pictures lost, {sum(won)} won, of 3 × 450",
)

# %% [markdown]
# The compressed network was trained longer in all, which may hide part of what pruning costs. We only know that it
# lost at most a point, with these seeds, on this task. To claim "no loss", you would need many more pictures.
#
# ## Smaller than what?
#
# The paper reports 1,070 kB → 27 kB for this architecture on MNIST, 40 times, and the error did not rise. Our rate
# looks similar. But our pictures were interpolated from 64 points. A linear layer can absorb a linear map before it:
# $W(E^\top x) = (W E^\top)\,x$, with the original picture $x \in \mathbb{R}^{64}$ as a column. So the trained network
# can be folded into one that reads the 64 original points. Are its answers the same?

# %%
folded = nn.Sequential(nn.Linear(64, 300), *copy.deepcopy(list(whole[1:])))
with torch.no_grad():
    folded[0].weight.copy_(whole[0].weight @ enlarge.T)
    folded[0].bias.copy_(whole[0].bias)
    answers = folded(torch.from_numpy(test.images.reshape(-1, 64))).numpy()

# %%
save_file(folded.state_dict(), scratch / "folded.safetensors")
free = size["dense"] / bytes_of("folded.safetensors")
apart = np.abs(answers - logits_of(whole)).max()
claim(
    "a network with 64 inputs gives the same logits, to rounding, from a file more than 5 times "
    "smaller",
    apart < 1e-3 and free > 5,
    f"{free:.1f} times smaller; logits apart by {apart:.0e}",
)

# %% [markdown]
# We got a factor of five without pruning a single weight, because our baseline was inflated. MNIST's 784 points carry
# more information, though its border is empty as well. A compression rate depends on its baseline. Always ask:
# *smaller than what?*
#
# How much memory does the network take when it runs?

# %%
in_use = sum(p.numel() * p.element_size() for p in decoded.parameters())
claim(
    "decoded, the network takes as many bytes of memory as the dense one",
    in_use == sum(p.numel() * p.element_size() for p in whole.parameters()),
    f"{in_use:,} bytes",
)

# %% [markdown]
# Deep Compression makes a file smaller to send: through an app store, a radio link, a firmware update. To gain time
# as well, a processor must compute on the compressed form. The authors designed such a chip, *EIE*, and simulated it.
#
# ## Could I have trained the small network from the start?
#
# A pruned network works with a fraction of the weights. So why train the large one? Frankle and Carbin took the mask
# of a pruned network and trained with that mask from the beginning, in two ways. With *rewinding*, each remaining
# weight starts from the value that it had *before* training. With *reinitialising*, it starts from a new random
# value.

# %%
guess(
    "ticket",
    "With 3 % of the weights and the same mask: which start gives the better network?",
    choices=["rewound to its first values", "new random values", "both alike, within a point"],
)

# %% [markdown]
# *Iterative* pruning finds the mask: train, remove the smallest 45 % of what is left, rewind, train again. Six rounds
# lead to $0.55^6$, about 3 % of the weights. As in lesson 11, small networks are trained side by side, here twelve in
# each round. Six start from their first values, and six from new ones, with the same masks. We also note the accuracy
# after three epochs.

# %%
flat, flat_test = fit.images.reshape(-1, 64), test.images.reshape(-1, 64)
first = torch_stacks.fresh(range(6), [64, 100, 50, 10])
others = torch_stacks.fresh(range(100, 106), [64, 100, 50, 10])
both = [torch.cat(pair) for pair in zip(first, others)]


def reached(stack):  # (start, network): rewound and new values, or the dense networks alone
    return torch_stacks.accuracies(stack, flat_test, test.labels).reshape(-1, 6)


# %% [markdown]
# `masks_at` ranks the weights of each network over all of its layers. `train` holds the masks.

# %%
after_three, current = [], torch_stacks.train(first, flat, fit.labels, epochs=20)
left, results = [1.0], [np.tile(reached(current), (2, 1))]
for _ in range(6):
    left.append(0.55 * left[-1])
    masks = [m.repeat(2, 1, 1) for m in torch_stacks.masks_at(current, np.full(6, 1 - left[-1]))]
    trained = torch_stacks.train(
        both,
        flat,
        fit.labels,
        epochs=20,
        masks=masks,
        seed=2,
        after_epoch=lambda epoch, stack: epoch == 2 and after_three.append(reached(stack)),
    )
    results.append(reached(trained))
    current = [each[:6] for each in trained]

# %% [markdown]
# `results` holds an accuracy for each round, start and network. The figure shows the mean of the six networks, and a
# band from the lowest to the highest.

# %%
share, results = 100 * np.array(left), np.array(results)
apart = 100 * (results[:, 0] - results[:, 1])
starts = {"rewound": (show.BLUE, "o-"), "new random values": (show.ORANGE, "s--")}
for (name, (colour, marker)), reach in zip(starts.items(), 100 * results.swapaxes(0, 1)):
    plt.fill_between(share, reach.min(1), reach.max(1), color=colour, alpha=0.2)
    plt.plot(share, reach.mean(1), marker, color=colour, label=name)
plt.gca().invert_xaxis()
plt.xscale("log")
plt.xticks(share, [f"{each:.3g}" for each in share])
plt.minorticks_off()
plt.xlabel("weights that are left (%), logarithmic")
plt.ylabel("test accuracy (%)")
plt.legend(loc="lower left")
show.finding(
    f"With {share[-1]:.1f} % of the weights, the first values are worth {apart[-1].mean():.0f} "
    "points",
    alt="Test accuracy by weights left, mean and range of six networks. "
    + "; ".join(
        f"at {s:.3g} % rewound {100 * a:.0f} %, new values {100 * b:.0f} %"
        for s, (a, b) in zip(share, results.mean(2))
    ),
)

# %%
best = "rewound to its first values" if apart[-1].mean() > 0 else "new random values"
reveal("ticket", best if abs(apart[-1].mean()) > 1 else "both alike, within a point")
claim(
    "with 3 % of the weights and the same masks, new values are worse for each of the six",
    bool((apart[-1] > 0).all()),
    f"by {apart[-1].mean():.1f} points on average, by {apart[-1].min():.1f} or more",
)

# %% [markdown]
# Two questions are left. How far can you prune with rewinding? And does the difference show early in the training?

# %%
dense_mean, tenth = 100 * results[0, 0].mean(), 100 * results[4, 0].mean()
claim(
    "with a tenth of the weights, rewound networks stay within 3 points of the dense ones",
    dense_mean - tenth < 3,
    f"{dense_mean:.1f} % dense, {tenth:.1f} % with {share[4]:.0f} % of the weights",
)

# %%
sooner = 100 * after_three[3].mean(axis=1)  # in the fourth round
claim(
    f"after three epochs, with {share[4]:.0f} % of the weights, the rewound networks are more than "
    "10 points ahead",
    sooner[0] - sooner[1] > 10,
    f"{sooner[0]:.0f} % against {sooner[1]:.0f} %",
)

# %% [markdown]
# The mask alone is not enough. Mask and first values belong together; Frankle and Carbin call such a pair a *winning
# ticket*. There are two cautions. To find this mask, we trained the large network and five smaller ones first, so we
# saved no training. And in larger networks, rewinding to step 0 often fails. Then people rewind to an early step, or
# rewind only the learning rate.
#
# ## Where does the cubic schedule come from?
#
# Lesson 11 used the schedule of Zhu and Gupta without a reason. Here is one. (Nothing later needs it, so you may skip
# this section.) Let $\tau \in [0, 1]$ be the time as a share of the pruning phase. Let $s(\tau)$ be the sparsity, $s_i$
# and $s_f$ its first and last value, and $r = s_f - s$ the share still to be pruned. At a constant pace, the rate would
# be $r / (1 - \tau)$: the remaining share, divided by the remaining time. But early there are many weights to choose
# from, so we prune $p$ times as fast:
#
# $$\frac{dr}{d\tau} = -p\,\frac{r}{1-\tau} \;\Longrightarrow\; \frac{dr}{r} = -p\,\frac{d\tau}{1-\tau}
# \;\Longrightarrow\; \ln r = p \ln(1-\tau) + c .$$
#
# At $\tau = 0$ we have $r = s_f - s_i$, which gives $c$. With $s = s_f - r$ we get
#
# $$s(\tau) = s_f + (s_i - s_f)\,(1-\tau)^p .$$
#
# To check the derivation, we follow the first equation in small steps and compare the result with the last equation.

# %%
ends = np.linspace(0, 0.99, 10_000)
followed = [0.9]  # r at the start: from 0 to 90 % zeros
for start, end in zip(ends, ends[1:]):
    followed.append(followed[-1] * (1 - 3 * (end - start) / (1 - start)))
gap = np.abs(np.array(followed) - 0.9 * (1 - ends) ** 3).max()
claim("followed in 9,999 steps, the equation gives the cubic", gap < 1e-3, f"apart by {gap:.0e}")

# %% [markdown]
# The reason is plausible, but it does not say which power is best. Zhu and Gupta chose $p = 3$.
#
# ## What we measured

# %%
table = [
    ["pruned, gaps of 5 bits", f"{100 / rate['pruned']:.1f} %"],
    ["31 shared values for each layer", f"{100 / rate['clustered']:.1f} %"],
    ["Huffman codes", f"{100 / rate['Huffman']:.1f} %"],
    ["no compression, but 64 inputs", f"{100 / free:.1f} %"],
]
show.table(["file", "bytes, of the dense"], table, caption="LeNet-300-100 on digits of 28 × 28")

# %% [markdown]
# ## What to remember
#
# - To save bytes, prune, share values and code, in this order. Most of the gain comes before the codes.
# - Decode the network from the file alone before you report a rate, and refuse a damaged file.
# - Ask about every rate: smaller than what, at which accuracy, and measured on how many pictures?
#
# ## Where this breaks down
#
# Decoded, the network takes as much memory as before, and an ordinary product multiplies every zero. The stages
# assume that most weights can go. In a compact network, fewer can. Without a checksum, a flipped bit can go
# unnoticed.
#
# ## What real teams use
#
# To send a file, teams use int8 or int4 weights and a general packer such as zstd or gzip. Codebooks are still in
# use: Core ML calls them *palettization*, and NF4, a 4-bit format for language models, is a fixed codebook of 16
# values. Entropy coding of weights is standardised as ISO/IEC 15938-17, *neural network coding*.
#
# ## Further reading
#
# - S. Han, H. Mao, W. J. Dally, *Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization
#   and Huffman Coding*, ICLR 2016.
# - S. Han et al., *EIE: Efficient Inference Engine on Compressed Deep Neural Network*, ISCA 2016.
# - D. A. Huffman, *A Method for the Construction of Minimum-Redundancy Codes*, Proceedings of the IRE 40(9), 1952; RFC
#   1951, section 3.2.2, for canonical codes.
# - J. Frankle, M. Carbin, *The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks*, ICLR 2019; J.
#   Frankle et al., *Linear Mode Connectivity and the Lottery Ticket Hypothesis*, ICML 2020; A. Renda, J. Frankle, M.
#   Carbin, *Comparing Rewinding and Fine-tuning in Neural Network Pruning*, ICLR 2020.
