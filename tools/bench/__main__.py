"""`./course bench`: the lessons (lessons.py); `bench serving` (serving.py) and `bench soak` (soak.py)."""

import sys

from tools.bench import lessons


def main(words: list[str]) -> int:
    """Hands the words to the bench that the first of them names. Returns its exit code."""
    if words[:1] == ["serving"]:
        from tools.bench import serving

        return serving.main(words[1:])
    if words[:1] == ["soak"]:
        from tools.bench import soak

        return soak.main(words[1:])
    return lessons.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
