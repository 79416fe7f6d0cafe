"""The course's networks in PyTorch: their form, their training, the weights that ship."""

import json

import numpy as np
import pytest
import torch

from course_lib import data, models, places, torch_models


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(network):
    return torch.cat([p.detach().ravel() for p in network.parameters()])


def some(count):
    train, _ = data.digits()
    return train.images[:count], train.labels[:count]


def test_it_is_the_network_of_the_card():
    network = torch_models.digits_cnn()
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert sum(p.numel() for p in network.parameters()) == 15_270


def test_a_shift_moves_a_picture_by_one_point_at_most_and_fills_with_paper():
    torch.manual_seed(0)
    dot = torch.zeros(500, 1, 8, 8)
    dot[:, 0, 3, 4] = 1
    places_of = torch_models.shifted(dot, share=1.0).nonzero()[:, 2:]
    assert {tuple(place) for place in places_of.tolist()} == {(r, c) for r in (2, 3, 4) for c in (3, 4, 5)}
    corner = torch.zeros(500, 1, 8, 8)
    corner[:, 0, 0, 0] = 1
    assert set(torch_models.shifted(corner, share=1.0).sum(dim=(1, 2, 3)).tolist()) == {0.0, 1.0}
    pictures = torch.rand(7, 1, 8, 8)
    assert torch.equal(torch_models.shifted(pictures, share=0.0), pictures)
    assert torch_models.shifted(pictures[:0]).shape == (0, 1, 8, 8)


def test_the_same_seed_trains_the_same_weights_and_leaves_global_random_numbers_alone():
    images, labels = some(128)
    state = torch.get_rng_state()
    one, again, other = (torch_models.train(images, labels, seed=seed, epochs=1) for seed in (3, 3, 4))
    assert torch.equal(weights(one), weights(again)) and not torch.equal(weights(one), weights(other))
    assert torch.equal(state, torch.get_rng_state())
    assert not one.training


def test_after_each_epoch_the_caller_may_look_and_even_switch_the_mode():
    images, labels = some(128)
    seen = []

    def look(epoch, network, loss):
        seen.append((epoch, network.training, loss))
        network.eval()

    looked = torch_models.train(images, labels, seed=0, epochs=3, after_epoch=look)
    assert [(epoch, training) for epoch, training, _ in seen] == [(0, True), (1, True), (2, True)]
    assert torch.equal(weights(looked), weights(torch_models.train(images, labels, seed=0, epochs=3)))


def test_training_sees_the_pictures_that_a_hostile_function_returns():
    images, labels = some(128)
    seen = []

    def blank(network, pixels, answers):
        seen.append((network.training, pixels.shape, answers.shape))
        return torch.zeros_like(pixels)

    trained = torch_models.train(images, labels, seed=0, epochs=1, hostile=blank)
    assert seen == [(False, (64, 1, 8, 8), (64,))] * 2
    assert torch.equal(trained[0].weight, torch_models.train(0 * images, labels, seed=0, epochs=1)[0].weight)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="expected 64 images or more"):
        torch_models.train(*some(63), seed=0)


def test_logits_are_computed_without_dropout_and_the_mode_is_as_before():
    network = torch_models.digits_cnn()
    images, _ = some(5)
    assert np.array_equal(torch_models.logits_of(network, images), torch_models.logits_of(network, images))
    assert network.training
    assert torch_models.logits_of(network, images).shape == (5, 10)


def test_the_weights_that_ship_answer_as_their_ledger_row_says():
    every = json.loads((places.CHECKOUT / "source/recordings/ledger.json").read_text(encoding="utf-8"))
    rows = {row["form"]: row for row in every if row["model"] == "digits_cnn"}
    _, test = data.digits()
    network = torch_models.load_digits_cnn()
    accuracy = (torch_models.logits_of(network, test.images).argmax(axis=1) == test.labels).mean()
    assert not network.training and accuracy > 0.98
    assert abs(accuracy - rows["safetensors"]["accuracy"]) <= 0.005  # kernels differ by processor
    size = models.path("digits_cnn", 3, "weights.safetensors").stat().st_size
    assert size == rows["safetensors"]["bytes"] < 200_000


def test_training_again_makes_an_equivalent_model():
    train, test = data.digits()
    fit, _ = data.hold_out(train)
    again = torch_models.logits_of(torch_models.train(fit.images, fit.labels, seed=0), test.images).argmax(axis=1)
    shipped = torch_models.logits_of(torch_models.load_digits_cnn(), test.images).argmax(axis=1)
    assert (again == shipped).mean() >= 0.97
    assert abs((again == test.labels).mean() - (shipped == test.labels).mean()) <= 0.015


@pytest.mark.parametrize(("make", "count"), [(torch_models.wide, 4_208_650), (torch_models.small_resnet, 308_074)])
def test_the_large_networks_have_the_form_that_they_promise(make, count):
    network = make()
    assert sum(p.numel() for p in network.parameters()) == count
    assert network.training
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_a_residual_block_without_weights_passes_its_positive_input_on():
    block = torch_models.Residual(4, 4).eval()
    for weight in block.parameters():
        torch.nn.init.zeros_(weight)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x)
    assert torch_models.Residual(4, 8, 2)(x).shape == (2, 8, 3, 3)


@pytest.mark.parametrize(("train", "epochs"), [(torch_models.train_wide, 4), (torch_models.train_small_resnet, 6)])
def test_the_large_networks_learn_and_leave_global_random_numbers_alone(train, epochs):
    images, labels = some(512)
    state = torch.get_rng_state()
    large = data.upscaled(images)
    network = train(large, labels, seed=0, epochs=epochs)
    assert torch.equal(state, torch.get_rng_state())
    assert not network.training
    answers = torch_models.logits_of(network, large).argmax(axis=1)
    assert (answers == labels).mean() > 0.5
    with pytest.raises(ValueError, match="expected 64 images or more"):
        train(large[:63], labels[:63], seed=0)


def test_rows_times_weights_are_what_each_layer_returns_before_its_bias():
    network, images = torch_models.digits_cnn(), data.digits()[1].images[:20]
    given = torch_models.inputs_of(network, images)
    assert sorted(given) == [0, 2, 7, 9] and network.training, "as it was"
    for number, inputs in given.items():
        layer = network[number]
        weights = layer.weight.detach().numpy().reshape(len(layer.weight), -1)
        products = torch_models.rows_for(layer, inputs) @ weights.T + layer.bias.detach().numpy()
        with torch.inference_mode():
            expected = layer(torch.tensor(inputs)).numpy()
        channels_last = np.moveaxis(expected, 1, -1).reshape(-1, len(weights))
        assert np.allclose(products, channels_last, atol=1e-5), number


def test_rows_follow_stride_and_padding_and_groups_are_refused():
    inputs = np.random.default_rng(0).normal(size=(2, 4, 9, 7)).astype(np.float32)
    layer = torch.nn.Conv2d(4, 5, (3, 2), stride=2, padding=(1, 0), bias=False)
    with torch.inference_mode():
        expected = np.moveaxis(layer(torch.tensor(inputs)).numpy(), 1, -1).reshape(-1, 5)
    products = torch_models.rows_for(layer, inputs) @ layer.weight.detach().numpy().reshape(5, -1).T
    assert np.allclose(products, expected, atol=1e-5)
    with pytest.raises(ValueError, match="groups"):
        torch_models.rows_for(torch.nn.Conv2d(4, 4, 3, groups=4), inputs)
