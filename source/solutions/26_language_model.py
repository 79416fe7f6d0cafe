# %% [markdown]
# # 26 A language model behind an API: exercises
#
# Four small functions that every server of a language model, or its client, has somewhere. Fill in what is missing, run
# the cell, then its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("26")

# %% [markdown]
# ## 26.1 How many requests fit on the card? ★☆☆ · 10 minutes
#
# "We bought 24 GB, the model has 16. How many users at once is that?" Write the answer, for any model and card.


# %%
def requests_that_fit(memory, weights, layers, key_heads, head_size, number, tokens):
    """How many sequences of so many tokens fit into memory beside the weights.

    memory, weights: bytes. layers, key_heads, head_size: of the model; key_heads counts the
    heads that have keys and values of their own. number: bytes of one number in the cache.
    tokens: the longest sequence, prompt and answer together. All are whole numbers; weights may
    be 0, the others are 1 or more. Returns a whole number, 0 where not even one fits, or not
    even the weights. Raises ValueError for a number below these.
    """
    # SOLUTION
    if weights < 0 or min(memory, layers, key_heads, head_size, number, tokens) < 1:
        raise ValueError("expected numbers from 1 (weights: from 0)")
    of_one = 2 * layers * key_heads * head_size * number * tokens
    return max(0, memory - weights) // of_one


# %%
check("26.1", requests_that_fit)

# %% [markdown] tags=["solution"]
# The 2 stands for keys *and* values. Whole numbers and `//` keep the result exact: with floats, a card that holds exactly
# ten requests may come out as nine. Real servers also keep some memory for the activations of a pass.

# %% [markdown]
# ## 26.2 Which tokens may be drawn? ★★☆ · 15 minutes
#
# "Once in a hundred words it writes nonsense." Temperature makes the whole tail less likely, but the tail is long.
# *Top-p sampling* cuts it off: it keeps the most probable tokens until they hold the share `p` together, and draws among
# these alone.


# %%
def top_p(logits, p):
    """The probabilities from which to draw.

    logits: (tokens,) floats of any size, some may be -inf, not all. p: 0 < p <= 1.
    Sort the tokens by probability, the largest first, equal ones by their number. Keep the
    fewest of them, from the first on, whose probabilities add up to p or more. Use float64.
    Returns float64 (tokens,): the kept tokens' probabilities, scaled to a sum of 1, and 0
    elsewhere. Changes no argument. Raises ValueError for any other p.
    """
    # SOLUTION
    if not 0 < p <= 1:
        raise ValueError(f"expected 0 < p <= 1, got {p}")
    logits = np.asarray(logits, np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    before = np.cumsum(shares[order]) - shares[order]  # what the tokens in front hold
    kept = order[(before < p) & (shares[order] > 0)]
    kept_shares = np.zeros_like(shares)
    kept_shares[kept] = shares[kept] / shares[kept].sum()
    return kept_shares


# %%
check("26.2", top_p)

# %% [markdown] tags=["solution"]
# A token is kept if the tokens *before* it do not hold `p` yet. So the first one always stays, however small `p` is.
# `cumsum <= p` would drop the token that crosses the bound, and leave nothing where the first token alone is above it.
# The largest logit is taken off first, as in lesson 02, so that no exponential overflows.

# %% [markdown]
# ## 26.3 Where does an event end? ★★☆ · 20 minutes
#
# "Sometimes the stream breaks in the middle of a word." The client parsed each network packet as if it were one event.
# Write a parser that does not care where the cuts are.


# %%
def events(chunks):
    """The data of each server-sent event, as texts, each as soon as it is complete.

    chunks: an iterable of bytes, cut anywhere, also inside a character of UTF-8 or a line's end.
    Lines end with LF or CR LF. A line "data:…" gives data; one space after the colon does not
    count. Several data lines of one event are joined by LF. An empty line ends the event. Lines
    that begin with a colon, and other fields, are ignored. An event without data lines is none,
    and neither is one that never ended.
    Yields str. Takes the next chunk only when all events so far have been yielded.
    """
    # SOLUTION
    waiting, data = b"", []
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode()
                data = []


# %%
check("26.3", events)

# %% [markdown] tags=["solution"]
# Two things are kept from chunk to chunk: the line that has not ended yet, as bytes, and the data lines of the event that
# has not ended yet. Bytes become text only when the event is whole, so no character can be cut. The byte of LF is never a
# part of another character in UTF-8, so splitting bytes is safe. (The standard also allows a lone CR as a line's end, and
# a line `data` without a colon. Servers of language models do not send them.)

# %% [markdown]
# ## 26.4 Stop here ★★★ · 25 minutes
#
# "I told it to stop at END, and the page shows EN." The model writes pieces, and a stop text may lie across several of
# them. Text that might become a stop text must wait. Everything else must go out at once, since the user is watching.


# %%
def until_stop(parts, stops):
    """The text up to a stop text, passed on as early as possible.

    parts: an iterable of texts, as the model makes them; some may be empty. stops: a list of
    texts. The text ends at the first character with which a stop text becomes complete. What
    comes out is the text before this stop text; where two become complete at once, the text
    before the longer one. Yields texts, none of them empty. After each part, all is out but the
    longest end of the text that is the beginning of a stop text. Takes no further part after a
    stop. What was held back comes out if the parts end. Raises ValueError for an empty stop
    text.
    """
    # SOLUTION
    if "" in stops:
        raise ValueError("expected stop texts that are not empty")
    held = ""
    for part in parts:
        ready = ""
        for character in part:
            held += character
            ended = [stop for stop in stops if held.endswith(stop)]
            if ended:
                ready += held[: -max(map(len, ended))]
                if ready:
                    yield ready
                return
            at = next(
                (i for i in range(len(held)) if any(stop.startswith(held[i:]) for stop in stops)),
                len(held),
            )
            ready, held = ready + held[:at], held[at:]
        if ready:
            yield ready
    if held:
        yield held


# %%
check("26.4", until_stop)

# %% [markdown] tags=["solution"]
# After each character, the text that is held back is exactly the longest end that could still become a stop text. With it
# alone we know everything that matters. That is why the result does not depend on how the text was cut. The search over
# all positions is slow for long stop texts, but these have a few characters. For many or long ones, the automaton of Aho
# and Corasick (1975) needs one step a character. A server also tells its scheduler at a stop, so that the slot is free.
