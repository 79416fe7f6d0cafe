"""Right answers to lesson 26b's exercises that differ from the solutions."""

import numpy as np

# 26b.1


def _room(lengths, page, prefix):
    if page <= 0 or prefix < 0 or any(n <= 0 for n in lengths):
        raise ValueError


def by_names(lengths, page, prefix=0):
    _room(lengths, page, prefix)
    filled = {}
    for sequence, length in enumerate(lengths):
        for start in range(0, length, page):
            end = min(start + page, length)
            owner = None if end - start == page and end <= prefix else sequence
            filled[owner, start] = end - start
    empty = sum(page - n for n in filled.values())
    return len(filled), empty / (page * len(filled)) if filled else 0.0


def by_numpy(lengths, page, prefix=0):
    _room(lengths, page, prefix)
    n = np.array(lengths, int)
    common = np.minimum(n, prefix) // page
    count = int((-(-n // page) - common).sum() + common.max(initial=0))
    held = (n - common * page).sum() + common.max(initial=0) * page
    return count, float(1 - held / max(count * page, 1)) if count else 0.0


def by_levels(lengths, page, prefix=0):
    _room(lengths, page, prefix)
    count = empty = level = 0
    while any(n > level * page for n in lengths):
        here = [min(page, n - level * page) for n in lengths if n > level * page]
        common = (level + 1) * page <= prefix
        own = [n for n in here if not (common and n == page)]
        count += len(own) + (common and page in here)
        empty += sum(page - n for n in own)
        level += 1
    return count, empty / (count * page) if count else 0.0


def by_numpy_in_a_list(lengths, page, prefix=0):
    return [np.int64(by_numpy(lengths, page, prefix)[0]), np.float64(by_numpy(lengths, page, prefix)[1])]


# 26b.2


def in_a_loop(drafts, q, p, draws):
    out = []
    for token, before, now, u in zip(drafts, q, p, draws):
        if u * before[token] >= now[token]:
            weights = [max(a - b, 0.0) for a, b in zip(now, before)]
            break
        out.append(token)
    else:
        weights = list(p[-1])
    total, so_far = sum(weights), 0.0
    for token, weight in enumerate(weights):
        so_far += weight / total
        if so_far > draws[-1]:
            return [*out, token]
    return [*out, max(token for token, weight in enumerate(weights) if weight)]


def at_once(drafts, q, p, draws):
    drafts, k = np.asarray(drafts, int), len(drafts)
    rows = np.arange(k)
    kept = np.asarray(draws)[:k] * np.asarray(q)[rows, drafts] < np.asarray(p)[rows, drafts]
    good = k if kept.all() else int(np.argmin(kept))
    weights = np.array(p[good], float)
    if good < k:
        weights = np.maximum(weights - q[good], 0)
    weights = weights / weights.sum()
    return drafts[:good].tolist() + [int((np.cumsum(weights) > draws[k]).argmax())]


def with_a_padded_q(drafts, q, p, draws):
    p = np.array(p, float)
    padded = np.zeros_like(p)
    if len(drafts):
        padded[:-1] = q
    place = 0
    while place < len(drafts) and draws[place] * padded[place, drafts[place]] < p[place, drafts[place]]:
        place += 1
    rest = (p[place] - padded[place]).clip(0)
    token = np.searchsorted(np.cumsum(rest) / np.cumsum(rest)[-1], draws[len(drafts)], "right")
    return [*(int(each) for each in drafts[:place]), int(token)]


# 26b.3


def _group(weights, group):
    if group <= 0 or group % 2 == 1 or weights.shape[1] % group:
        raise ValueError


def by_rows(weights, group):
    _group(weights, group)
    content, scales = [], []
    for row in np.asarray(weights):
        whole = []
        row_scales = []
        for at in range(0, len(row), group):
            part = row[at : at + group]
            scale = np.float32(max(abs(part.min()), abs(part.max())) / 7) or np.float32(1)
            row_scales.append(scale)
            whole += [int(min(7, max(-7, round(float(each) / float(scale))))) + 8 for each in part]
        content.append([low + 16 * high for low, high in zip(whole[::2], whole[1::2])])
        scales.append(row_scales)
    return np.array(content, np.uint8), np.array(scales, np.float32)


def by_repeat(weights, group):
    _group(weights, group)
    w = np.array(weights, np.float64)
    scales = np.maximum.reduceat(np.abs(w), np.arange(0, w.shape[1], group), axis=1).astype(np.float32) / np.float32(7)
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    whole = np.round(w / np.repeat(scales, group, 1)).clip(-7, 7).astype(np.int8) + np.int8(8)
    pairs = whole.astype(np.uint8).reshape(len(w), -1, 2)
    return pairs[..., 0] + (pairs[..., 1] << 4), scales


def by_dot(weights, group):
    _group(weights, group)
    parts = np.stack(np.split(np.asarray(weights), weights.shape[1] // group, axis=1), axis=1)
    scales = np.float32(np.linalg.norm(parts, np.inf, axis=2) / 7)
    scales = scales + np.float32(1) * (scales == 0)
    whole = (np.clip(np.rint(parts / scales[..., None]), -7, 7) + 8).reshape(len(weights), -1, 2)
    return (whole @ np.array([1, 16])).astype(np.uint8), scales


# 26b.4


def in_one_sum(log, seconds, first_s, token_s):
    if seconds <= 0 or seconds != seconds:
        raise ValueError
    return sum(
        1
        for due, first, last, tokens in log
        if first is not None and last is not None and first - due <= first_s
        and (tokens < 2 or (last - first) / (tokens - 1) <= token_s)
    ) / seconds  # fmt: skip


def by_filters(log, seconds, first_s, token_s):
    if not seconds > 0:
        raise ValueError
    ended = [each for each in log if None not in each[:3]]
    prompt = filter(lambda each: each[1] - each[0] <= first_s, ended)
    return len([each for each in prompt if (each[2] - each[1]) / max(each[3] - 1, 1) <= token_s]) / seconds


def by_arrays(log, seconds, first_s, token_s):
    if not seconds > 0:
        raise ValueError
    table = np.array([[np.nan if each is None else each for each in row] for row in log], float).reshape(-1, 4)
    due, first, last, tokens = table.T
    with np.errstate(all="ignore"):
        good = (first - due <= first_s) & ((last - first) / np.maximum(tokens - 1, 1) <= token_s)
    return float(good.sum() / seconds)


RIGHT = {
    "26b.1": [by_names, by_numpy, by_levels, by_numpy_in_a_list],
    "26b.2": [in_a_loop, at_once, with_a_padded_q],
    "26b.3": [by_rows, by_repeat, by_dot],
    "26b.4": [in_one_sum, by_filters, by_arrays],
}
