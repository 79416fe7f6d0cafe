"""The pieces, the model and its cache."""

import json

import numpy as np
import pytest
import torch

from course_lib import models
from course_lib.language import model as lm
from course_lib.language import text
from course_lib.language.engine import Engine, Request


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return lm.load(models.path("manual_lm", 1, "model.npz"))


@pytest.fixture(scope="module")
def pieces():
    return text.Pieces.load(models.path("manual_lm", 1, "pieces.json"))


def finished(engine, *requests):
    engine.waiting.extend(requests)
    while engine.waiting or engine.running:
        engine.step()
    return [each.made for each in requests]


@pytest.mark.parametrize("content", ["", "a", "The statement", "\r\n\t  x", "中文 😀 – é", "\x00\x7f", "a" * 999])
def test_any_text_comes_back_from_its_pieces(pieces, content):
    assert pieces.decode(pieces.encode(content)) == content


def test_long_words_are_not_kept(pieces):
    before = len(pieces._known)
    pieces.encode("xy" * 50)
    assert len(pieces._known) == before and pieces.longest == max(len(each) for each in pieces.bytes)


def test_the_two_parts_of_the_manual_share_no_paragraph():
    learn, held_out = (set(each.split("\n\n")) for each in text.manual())
    assert held_out and not learn & held_out


def test_the_first_steps_lie_on_the_curve_of_the_model_in_the_folder(pieces):
    torch.set_num_threads(1)
    learn, held_out = text.manual()
    tokens, unseen = (np.array(pieces.encode(each)) for each in (learn, held_out))
    points = []
    lm.train(tokens, 100, planned=1600, told=lambda _, now: points.append(lm.nats(now, unseen)))
    bits = points[-1] / np.log(2) / len(held_out)
    assert abs(bits - json.loads(models.path("manual_lm", 1, "curve.json").read_text(encoding="utf-8"))[0][1]) < 0.15


def test_the_file_holds_what_the_card_says(network, pieces):
    unseen = text.manual()[1]
    bits = lm.nats(network, np.array(pieces.encode(unseen))) / np.log(2) / len(unseen)
    assert sum(each.numel() for each in network.parameters()) == 856_832
    assert abs(bits - 1.65) < 0.01
    assert models.path("manual_lm", 1, "model.npz").stat().st_size < 1_200_000


def test_saved_and_loaded_again_it_is_the_same(network, tmp_path):
    lm.save(network, tmp_path / "model.npz")
    again = lm.load(tmp_path / "model.npz").state_dict()
    assert all(torch.allclose(value, again[name], atol=1e-7) for name, value in network.state_dict().items())


@torch.inference_mode()
def test_with_and_without_a_cache_in_any_cut_the_logits_are_the_same(network):
    ids = torch.randint(0, 512, (3, 20), generator=torch.Generator().manual_seed(0))
    whole, cache, slots = network(ids), lm.Cache(5), torch.tensor([4, 0, 2])
    parts = [network(ids[:, a:b], cache, slots) for a, b in ((0, 7), (7, 8), (8, 15), (15, 20))]
    assert torch.allclose(whole, torch.cat(parts, 1), atol=1e-4)
    assert cache.lengths.tolist() == [20, 0, 20, 0, 20]


def test_an_engine_gives_each_request_what_it_gets_alone(network, pieces):
    prompts = ["The", "The statement is used", "A class", "If the", "An object", "x = "]

    def requests():
        kinds = [(0.0, None), (0.8, 1), (1.2, 2)] * 2
        return [
            Request(pieces.encode(prompt), 5 + 7 * i, temperature, seed)
            for i, (prompt, (temperature, seed)) in enumerate(zip(prompts, kinds, strict=True))
        ]

    together = finished(Engine(network, slots=2), *requests())
    assert together == [finished(Engine(network, slots=1), each)[0] for each in requests()]
    assert [len(each) for each in together] == [5, 12, 19, 26, 33, 40]


def test_one_that_is_gone_frees_its_slot_and_one_that_waits_is_never_begun(network):
    engine = Engine(network, slots=1)
    first, second, third = (Request([65], 50), Request([66], 50), Request([67], 2))
    engine.waiting.extend([first, second, third])
    engine.step()
    first.gone = second.gone = True
    engine.step()
    assert (second.made, len(third.made)) == ([], 2) and not engine.running
