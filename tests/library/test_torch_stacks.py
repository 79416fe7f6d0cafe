"""Small dense networks, trained side by side."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import torch_stacks

SIZES = [6, 5, 3]


@pytest.fixture
def examples():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=128)
    inputs = random.normal(size=(128, 6)).astype(np.float32)
    inputs[np.arange(128), labels] += 4
    return inputs, labels


def test_a_seed_has_the_same_weights_in_any_stack():
    alone, among = torch_stacks.fresh([7], SIZES), torch_stacks.fresh([3, 7, 7], SIZES)
    for one, many in zip(alone, among):
        assert torch.equal(one[0], many[1]) and torch.equal(one[0], many[2])
    assert not torch.equal(among[0][0], among[0][1])
    assert [tuple(each.shape) for each in among] == [(3, 6, 5), (3, 1, 5), (3, 5, 3), (3, 1, 3)]


def test_logits_are_those_of_the_same_network_in_layers(examples):
    stack = torch_stacks.fresh([1, 2], SIZES)
    stack[1] += 0.1
    layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        for layer, weight, bias in ((layers[0], stack[0], stack[1]), (layers[2], stack[2], stack[3])):
            layer.weight.copy_(weight[1].T)
            layer.bias.copy_(bias[1, 0])
        wanted = layers(torch.from_numpy(examples[0]))
    got = torch_stacks.logits(stack, torch.from_numpy(examples[0]).expand(2, -1, -1))
    assert torch.allclose(got[1], wanted, atol=1e-5)


def test_masks_keep_the_largest_weights_of_each_network_over_all_layers():
    stack = torch_stacks.fresh([1, 2, 3], SIZES)
    masks = torch_stacks.masks_at(stack, np.array([0, 0.4, 0.9]))
    total = 6 * 5 + 5 * 3
    assert [int(sum(mask[m].sum() for mask in masks)) for m in range(3)] == [total, total - 18, total - 40]
    kept = torch.cat([(w[2].abs() * mask[2]).flatten() for w, mask in zip(stack[::2], masks)])
    gone = torch.cat([(w[2].abs() * (1 - mask[2])).flatten() for w, mask in zip(stack[::2], masks)])
    assert kept[kept > 0].min() > gone.max()


def test_training_learns_holds_masks_and_leaves_the_stack_alone(examples):
    stack = torch_stacks.fresh([1, 2], SIZES)
    masks = torch_stacks.masks_at(stack, np.array([0.3, 0.6]))
    before, epochs = [each.clone() for each in stack], []
    trained = torch_stacks.train(stack, *examples, epochs=20, masks=masks, after_epoch=lambda e, _: epochs.append(e))
    assert all(torch.equal(one, other) for one, other in zip(stack, before)) and epochs == list(range(20))
    assert all(bool((weight[mask == 0] == 0).all()) for weight, mask in zip(trained[::2], masks))
    assert (torch_stacks.accuracies(trained, *examples) > torch_stacks.accuracies(stack, *examples)).all()


@pytest.mark.parametrize("every", [1, 3])
def test_a_schedule_ends_at_its_sparsity(examples, every):
    asked = []

    def sparsity(share):
        asked.append(share)
        return np.array([0.5, 0.8]) * min(1, 2 * share)

    trained = torch_stacks.train(torch_stacks.fresh([1, 2], SIZES), *examples, epochs=6, sparsity=sparsity, every=every)
    zeros = [sum(int((w[m] == 0).sum()) for w in trained[::2]) for m in range(2)]
    assert asked == [step / 12 for step in range(0, 12, every)]
    assert zeros == [round(0.5 * 45), round(0.8 * 45)]
