"""What must hold between the files of a deployment: functions over a `Tree` that yield a sentence for each thing wrong.

They are functions, and not tests, so that tests can also hand them trees with mistakes planted in them.
"""

from collections.abc import Callable, Iterator

from tests.deploy.rules import containers, environment, extensions, monitoring, networks, objects, pods, schemas
from tests.deploy.tree import Tree

Rule = Callable[[Tree], Iterator[str]]

RULES: list[Rule] = [
    *pods.RULES,
    *objects.RULES,
    *containers.RULES,
    *environment.RULES,
    *extensions.RULES,
    *monitoring.RULES,
    *networks.RULES,
    schemas.today,
]


def wrong(tree: Tree) -> list[str]:
    """All that is wrong with a tree."""
    return [each for rule in RULES for each in rule(tree)]
