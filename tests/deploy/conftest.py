"""What the tests of this folder share: the tree that they read."""

import pytest

from tests.deploy import tree


@pytest.fixture(scope="session")
def deployed() -> tree.Tree:
    """What is deployed, as it stands; tests change copies."""
    return tree.read()
