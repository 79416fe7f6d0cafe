"""How sure a share of a sample is."""

from statistics import NormalDist


def wilson(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: the shares under which what was counted is no surprise.

    right: how many of `count`, 0 to count. count: 1 or more. confidence: 0 to 1, both ends excluded.
    Returns the interval's two ends, within 0 to 1. Raises ValueError for counts or a confidence outside these. Source:
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927. Lesson 04b
    derives it.
    """
    if not (0 <= right <= count and count >= 1 and int(right) == right and int(count) == count):
        raise ValueError(f"expected whole numbers, 0 to count right of 1 or more, got {right} of {count}")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, such as 0.95, got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = right / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z * (share * (1 - share) / count + weight / count / 4) ** 0.5 / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
