"""From scans to pixels."""


def prepare(scans):
    """Counts of black points, 0 to 16, to pixels, 0 to 1."""
    return scans.astype("float32") / 16
