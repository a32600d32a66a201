"""VLAD: global signatures of images from their local descriptors.

Jegou et al., "Aggregating local descriptors into a compact image representation" (CVPR 2010), with the
residual of each word normalised (Arandjelovic and Zisserman, "All about VLAD", CVPR 2013).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WORDS = 64
_ROUNDS = 10
_ENOUGH = 40_000
"""Maximum number of descriptors that words are learned from."""
_AT_ONCE = 128
"""Signatures that are compared at once: 2 MB, which stay in a CPU's cache."""
_AT_ONCE_ON_GPU = 8192
"""128 MiB: few launches, and little memory beside the signatures."""


def learn_words(descriptors: Tensor, words: int = WORDS, seed: int = 0) -> Tensor:
    """(words, D) unit vectors: spherical k-means of descriptors (N, D) of unit length.

    Deterministic. If there are fewer descriptors than words, some words stay unused.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(descriptors), generator=generator)
    some = descriptors[order[:_ENOUGH]].float()
    centers = torch.zeros(words, descriptors.shape[1])
    centers[: len(some)] = some[:words]
    for _ in range(_ROUNDS):
        nearest = (some @ centers.T).argmax(dim=1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, some)
        used = sums.norm(dim=1, keepdim=True) > 0
        centers = torch.where(used, F.normalize(sums, dim=1), centers)
    return centers


def vlad(descriptors: Tensor, words: Tensor) -> Tensor:
    """(W * D,) unit-length signature of descriptors (N, D) with `words` (W, D); 0 if there are none.

    The dot product of two signatures is the similarity of the images.
    """
    nearest = (descriptors @ words.T).argmax(dim=1)
    residuals = torch.zeros_like(words).index_add_(0, nearest, descriptors - words[nearest])
    return F.normalize(F.normalize(residuals, dim=1).flatten(), dim=0)


def similarities(signatures: Tensor, signature: Tensor) -> Tensor:
    """(V,) float32 dot products of signatures (V, W * D) float16 with a float32 one (W * D,).

    They are converted through a small buffer. A float32 copy of all of them would take ten times as long,
    most of it for new memory.
    """
    result = signature.new_empty(len(signatures))
    at_once = min(_AT_ONCE_ON_GPU if signature.is_cuda else _AT_ONCE, max(1, len(signatures)))
    buffer = signature.new_empty(at_once, len(signature))
    for rows, part in zip(signatures.split(at_once), result.split(at_once), strict=True):
        torch.mv(buffer[: len(rows)].copy_(rows), signature, out=part)
    return result
