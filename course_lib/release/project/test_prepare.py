"""The pipeline's first step: the code around the model."""

import unittest

import numpy as np
from prepare import prepare


class Prepare(unittest.TestCase):
    def test_paper_is_0_and_ink_is_1(self):
        self.assertEqual(prepare(np.array([0, 16])).tolist(), [0.0, 1.0])
