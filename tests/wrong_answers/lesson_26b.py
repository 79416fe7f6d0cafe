"""Wrong answers to lesson 26b's exercises, each with the property at which the check must catch it."""

import math

import numpy as np

# 26b.1


def rounded_together(lengths, page, prefix=0):
    count = math.ceil(sum(lengths) / page)
    return count, 1 - sum(lengths) / (count * page) if count else 0.0


def waste_of_the_tokens(lengths, page, prefix=0):
    count = sum(math.ceil(n / page) for n in lengths)
    return count, (count * page - sum(lengths)) / max(sum(lengths), 1)


def divides_by_nothing(lengths, page, prefix=0):
    count = sum(math.ceil(n / page) for n in lengths)
    return count, 1 - sum(lengths) / (count * page)


def shares_nothing(lengths, page, prefix=0):
    count = sum(math.ceil(n / page) for n in lengths)
    return count, 1 - sum(lengths) / (count * page) if count else 0.0


def shares_the_last_page(lengths, page, prefix=0):
    common = [min(n // page, math.ceil(prefix / page)) for n in lengths]
    kept = max(common, default=0)
    count = kept + sum(math.ceil(n / page) - c for n, c in zip(lengths, common))
    held = kept * page + sum(n - c * page for n, c in zip(lengths, common))
    return count, 1 - held / (count * page) if count else 0.0


def all_are_long(lengths, page, prefix=0):
    shared = prefix // page if lengths else 0
    count = shared + sum(max(0, math.ceil(n / page) - shared) for n in lengths)
    held = shared * page + sum(max(0, n - shared * page) for n in lengths)
    return count, 1 - held / (count * page) if count else 0.0


def refuses_nothing(lengths, page, prefix=0):
    common = [min(n, prefix) // page for n in lengths]
    kept = max(common, default=0)
    count = kept + sum(math.ceil(n / page) - c for n, c in zip(lengths, common))
    held = kept * page + sum(n - c * page for n, c in zip(lengths, common))
    return count, 1 - held / (count * page) if count else 0.0


# 26b.2


def _drawn(weights, draw):
    sums = np.cumsum(weights)
    return int(np.searchsorted(sums / sums[-1], draw, side="right"))


def from_p_after_a_rejection(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if not draws[i] * q[i][token] < p[i][token]:
            return [*kept, _drawn(p[i], draws[-1])]
        kept.append(int(token))
    return [*kept, _drawn(p[-1], draws[-1])]


def upside_down(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if not draws[i] * p[i][token] < q[i][token]:
            return [*kept, _drawn(np.clip(p[i] - q[i], 0, None), draws[-1])]
        kept.append(int(token))
    return [*kept, _drawn(p[-1], draws[-1])]


def keeps_only_what_is_more_likely(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if q[i][token] > p[i][token]:
            return [*kept, _drawn(np.clip(p[i] - q[i], 0, None), draws[-1])]
        kept.append(int(token))
    return [*kept, _drawn(p[-1], draws[-1])]


def goes_on_after_a_rejection(drafts, q, p, draws):
    out = []
    for i, token in enumerate(drafts):
        if draws[i] * q[i][token] < p[i][token]:
            out.append(int(token))
        else:
            out.append(_drawn(np.clip(p[i] - q[i], 0, None), draws[-1]))
    return out if len(out) == 1 and out[0] != drafts[0] else [*out, _drawn(p[-1], draws[-1])]


def nothing_for_free(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if not draws[i] * q[i][token] < p[i][token]:
            return [*kept, _drawn(np.clip(p[i] - q[i], 0, None), draws[-1])]
        kept.append(int(token))
    return kept


def from_the_left(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if not draws[i] * q[i][token] < p[i][token]:
            rest = np.clip(p[i] - q[i], 0, None)
            return [*kept, int(np.searchsorted(np.cumsum(rest) / rest.sum(), draws[-1]))]
        kept.append(int(token))
    return [*kept, int(np.searchsorted(np.cumsum(p[-1]) / p[-1].sum(), draws[-1]))]


def changes_p(drafts, q, p, draws):
    kept = []
    for i, token in enumerate(drafts):
        if not draws[i] * q[i][token] < p[i][token]:
            p[i] -= q[i]
            return [*kept, _drawn(p[i].clip(0), draws[-1])]
        kept.append(int(token))
    return [*kept, _drawn(p[-1], draws[-1])]


# 26b.3


def _parts(weights, group):
    if group < 2 or group % 2 or weights.shape[1] % group:
        raise ValueError
    return np.asarray(weights).reshape(len(weights), -1, group)


def _bytes(whole, rows):
    whole = whole.astype(np.int64).reshape(rows, -1)
    return (whole[:, ::2] | whole[:, 1::2] << 4).astype(np.uint8)


def not_packed(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max(2) / 7).astype(np.float32)
    return (np.rint(parts / scales[..., None]) + 8).astype(np.uint8).reshape(weights.shape), scales


def by_the_largest(weights, group):
    parts = _parts(weights, group)
    scales = (parts.max(2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    return _bytes(np.clip(np.rint(parts / scales[..., None]), -7, 7) + 8, len(weights)), scales


def one_scale_a_row(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max((1, 2)) / 7).astype(np.float32)[:, None].repeat(parts.shape[1], 1)
    scales[scales == 0] = 1
    return _bytes(np.clip(np.rint(parts / scales[..., None]), -7, 7) + 8, len(weights)), scales


def high_half_first(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max(2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    whole = (np.clip(np.rint(parts / scales[..., None]), -7, 7) + 8).astype(np.int64).reshape(len(weights), -1)
    return (whole[:, 1::2] | whole[:, ::2] << 4).astype(np.uint8), scales


def cuts_off(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max(2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    return _bytes(np.clip(np.trunc(parts / scales[..., None] * 1.000001), -7, 7) + 8, len(weights)), scales


def rounds_ties_up(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max(axis=2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    return _bytes(np.clip(np.floor(parts / scales[:, :, None] + 0.5), -7, 7) + 8, len(weights)), scales


def divides_by_zero(weights, group):
    parts = _parts(weights, group)
    scales = (np.abs(parts).max(2) / 7).astype(np.float32)
    with np.errstate(all="ignore"):
        return _bytes(np.nan_to_num(np.rint(parts / scales[..., None])) + 8, len(weights)), scales


def takes_any_group(weights, group):
    parts = np.asarray(weights)[:, : weights.shape[1] // group * group].reshape(len(weights), -1, group)
    scales = (np.abs(parts).max(2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    return _bytes(np.clip(np.rint(parts / scales[..., None]), -7, 7) + 8, len(weights)), scales


# 26b.4


def of_the_requests(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] <= first_s and r[2] - r[1] <= token_s * (r[3] - 1)]
    return len(good) / max(len(log), 1)


def strictly_below(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] < first_s and r[2] - r[1] <= token_s * (r[3] - 1)]
    return len(good) / seconds


def over_all_tokens(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] <= first_s and (r[2] - r[1]) / r[3] <= token_s]
    return len(good) / seconds


def from_due_to_last(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] <= first_s and (r[2] - r[0]) / r[3] <= token_s]
    return len(good) / seconds


def divides_by_no_gap(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] <= first_s and (r[2] - r[1]) / (r[3] - 1) <= token_s]
    return len(good) / seconds


def counts_what_never_ended(log, seconds, first_s, token_s):
    good = 0
    for due, first, last, tokens in log:
        good += first is not None and first - due <= first_s and (last or first) - first <= token_s * (tokens - 1)
    return good / seconds


def zero_is_nothing(log, seconds, first_s, token_s):
    if not seconds > 0:
        raise ValueError
    good = 0
    for due, first, last, tokens in log:
        if first and last:
            good += first - due <= first_s and last - first <= token_s * (tokens - 1)
    return good / seconds


def any_time(log, seconds, first_s, token_s):
    good = [r for r in log if None not in r and r[1] - r[0] <= first_s and r[2] - r[1] <= token_s * (r[3] - 1)]
    return len(good) / seconds if seconds else 0.0


WRONG = {
    "26b.1": {
        rounded_together: "each sequence has whole pages, the last one partly empty",
        waste_of_the_tokens: "each sequence has whole pages, the last one partly empty",
        divides_by_nothing: "no sequence, no page, no waste",
        shares_nothing: "pages full of the common prefix are kept once",
        shares_the_last_page: "the page in which the prefix ends is not shared",
        all_are_long: "a sequence shorter than the prefix shares the pages that it fills",
        refuses_nothing: "numbers that cannot be are refused",
    },
    "26b.2": {
        from_p_after_a_rejection: "one that it likes less is kept with probability p/q",
        upside_down: "a draft that the large model likes better is always kept",
        keeps_only_what_is_more_likely: "one that it likes less is kept with probability p/q",
        goes_on_after_a_rejection: "the drafts after a rejected one are void",
        nothing_for_free: "a draft that the large model likes better is always kept",
        from_the_left: "without drafts it is plain sampling, and a token of weight 0 is never drawn",
        changes_p: "300 drawn passes come out as they should, the arguments unchanged",
    },
    "26b.3": {
        not_packed: "half as many bytes as weights, and a float32 scale for each group",
        by_the_largest: "the scale is the largest magnitude of its group, divided by 7",
        one_scale_a_row: "the scale is the largest magnitude of its group, divided by 7",
        high_half_first: "7, -7, 1, 0 with scale 1 become 15, 1, 9, 8: low half first",
        rounds_ties_up: "ties go to the even number, as np.rint has them",
        cuts_off: "unpacked, each weight is at most half a scale away",
        divides_by_zero: "a group of zeros is no division by zero",
        takes_any_group: "another group is refused",
    },
    "26b.4": {
        of_the_requests: "good requests are counted a second",
        strictly_below: "the first token counts from when the request was due",
        over_all_tokens: "the flow is the mean over the tokens after the first",
        from_due_to_last: "the first token counts from when the request was due",
        divides_by_no_gap: "an answer of one token has no flow",
        counts_what_never_ended: "what never began or never ended is not good, and nothing else changes",
        zero_is_nothing: "a request that begins at moment 0 counts as well",
        any_time: "no time, no rate: it is refused",
    },
}
