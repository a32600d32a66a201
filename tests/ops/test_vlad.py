from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from diff2i2p_core.ops.vlad import learn_words, similarities, vlad


def descriptors(seed: int, places: int, count: int) -> torch.Tensor:
    """(places, count, 16): each place has its own descriptors around a few common directions."""
    generator = torch.Generator().manual_seed(seed)
    kinds = F.normalize(torch.randn(6, 16, generator=generator), dim=1)
    own = 0.4 * torch.randn(places, 6, 16, generator=generator)
    which = torch.randint(0, 6, (places, count), generator=generator)
    noise = 0.1 * torch.randn(places, count, 16, generator=generator)
    return F.normalize(kinds[which] + own.gather(1, which[..., None].expand(-1, -1, 16)) + noise, dim=2)


def test_an_image_is_most_like_the_place_that_it_shows() -> None:
    places = descriptors(0, 8, 200)
    words = learn_words(places.flatten(0, 1), words=6)
    torch.testing.assert_close(words.norm(dim=1), torch.ones(6))
    signatures = torch.stack([vlad(place[:120], words) for place in places])
    torch.testing.assert_close(signatures.norm(dim=1), torch.ones(8))
    images = torch.stack([vlad(place[120:], words) for place in places])
    assert (images @ signatures.T).argmax(dim=1).tolist() == list(range(8))


def test_words_are_deterministic_and_work_with_few_descriptors() -> None:
    some = descriptors(1, 1, 50)[0]
    assert torch.equal(learn_words(some, words=4), learn_words(some, words=4))
    words = learn_words(some[:3], words=64)
    assert words.shape == (64, 16) and words.isfinite().all()
    assert vlad(torch.zeros(0, 16), words).shape == (64 * 16,)


@pytest.mark.parametrize("views", [1, 128, 300])
def test_similarities_are_the_dot_products_of_all_signatures(views: int) -> None:
    generator = torch.Generator().manual_seed(2)
    signatures = F.normalize(torch.randn(views, 96, generator=generator), dim=1).half()
    image = F.normalize(torch.randn(96, generator=generator), dim=0)
    expected = (signatures.double() @ image.double()).float()
    torch.testing.assert_close(similarities(signatures, image), expected, atol=1e-6, rtol=0)


def test_signatures_are_not_copied_as_a_whole() -> None:
    """At 10^5 views, a float32 copy is 1.6 GB for each image."""
    signatures = torch.zeros(1000, 64).half()
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        similarities(signatures, torch.zeros(64))
    largest = max(event.cpu_memory_usage for event in profile.function_events)
    assert 0 < largest < signatures.numel() * 4 / 2
