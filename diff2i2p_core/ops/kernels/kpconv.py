"""Fused kernel point convolution: neither (M, K, 15) influences nor (M, K, C) neighbours are in memory.

One program handles one query. It gathers a block of neighbours at a time, computes their weights for the 15
kernel points on the fly, and sums them as the matrix product (15, K) x (K, C), divided by the number of
neighbours. The (rows, 15 C) sums of a chunk of queries are then multiplied by the weights in one cuBLAS
product, which is hard to beat inside the kernel. A chunk stays within `CHUNK_BYTES`, which fits into an
H100's L2 cache.

The backward pass repeats the sums for the gradient of the weights. The gradient of the features uses the same
kernel on the transposed table: the sum of w(m, n) g_m over the queries m with neighbour n, times the
transposed weights. Nothing is added atomically, so both gradients are reproducible. Positions get no
gradient.

Computed, not measured: 20,000 queries, K = 51, 64 channels in and out, float32. The sums' 2.0 GFLOP (2.6
with the padding to 16 kernel points and 64 neighbours) and the product's 2.5 GFLOP take 70 us at an H100's
67 TFLOP/s without tensor cores; the gather reads 261 MB through L2 (about 50 us at 5.5 TB/s), the sums pass
154 MB through it, and main memory sees 18 MB (6 us at 3.35 TB/s). So the limit is
arithmetic in float32, and L2 in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood

CHUNK_BYTES = 32 * 2**20


def fused_kpconv(
    features: Tensor,
    neighborhood: Neighborhood,
    kernel_points: Tensor,
    sigma: float,
    weights: Tensor,
    normalization: str,
) -> Tensor:
    """The same as `ops.kpconv.kpconv`."""
    device = features.device.type
    if torch.is_autocast_enabled(device):
        half = torch.get_autocast_dtype(device)
        features, weights = features.to(half), weights.to(half)
    result: Tensor = _KPConv.apply(features, weights, neighborhood, kernel_points, sigma, normalization)
    return result


class _KPConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weights: Tensor,
        neighborhood: Neighborhood,
        kernel_points: Tensor,
        sigma: float,
        normalization: str,
    ) -> Tensor:
        features = features.contiguous()
        positive = features.sum(1) > 0 if normalization == "positive_sum" else None
        sums = _Sums(features, neighborhood, kernel_points, sigma, positive)
        output = features.new_empty(len(neighborhood.neighbors), weights.shape[2])
        with torch.autocast(features.device.type, enabled=False):
            for first, rows in sums.chunks():
                torch.mm(sums.of(first, rows), weights.flatten(0, 1), out=output[first : first + rows])
        ctx.save_for_backward(features, weights, kernel_points, positive, sums.counts)
        ctx.neighborhood, ctx.sigma = neighborhood, sigma
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weights, kernel_points, positive, counts = ctx.saved_tensors
        neighborhood, sigma = ctx.neighborhood, ctx.sigma
        grad_features = grad_weights = None
        with torch.autocast(features.device.type, enabled=False):
            if ctx.needs_input_grad[1]:
                total = torch.zeros(weights.flatten(0, 1).shape, dtype=torch.float32, device=weights.device)
                sums = _Sums(features, neighborhood, kernel_points, sigma, positive)
                for first, rows in sums.chunks():
                    total += sums.of(first, rows).t() @ grad[first : first + rows]
                grad_weights = total.to(weights.dtype).view_as(weights)
            if ctx.needs_input_grad[0]:
                scaled = (grad / counts.unsqueeze(1)).to(grad.dtype)
                sums = _Sums(scaled, neighborhood, kernel_points, sigma, None, transposed=True)
                grad_features = torch.empty_like(features)
                turned = weights.transpose(1, 2).flatten(0, 1)
                for first, rows in sums.chunks():
                    torch.mm(sums.of(first, rows), turned, out=grad_features[first : first + rows])
        return grad_features, grad_weights, None, None, None, None


class _Sums:
    """Sums of neighbours' features for each kernel point, one chunk of rows at a time.

    The sums are over the neighbours of each query, divided by their number (also in `counts`); or,
    transposed, over the queries of each support, not divided.
    """

    def __init__(
        self,
        features: Tensor,
        neighborhood: Neighborhood,
        kernel_points: Tensor,
        sigma: float,
        positive: Tensor | None,
        transposed: bool = False,
    ) -> None:
        centers, others = neighborhood.queries, neighborhood.supports
        self.starts, self.table = None, neighborhood.neighbors
        if transposed:
            centers, others = others, centers
            self.starts, self.table = neighborhood.transposed
        self.centers, self.others = centers.float().contiguous(), others.float().contiguous()
        self.features, self.kernel_points = features.contiguous(), kernel_points.float().contiguous()
        self.table = self.table.contiguous()
        self.positive, self.sigma = positive, sigma
        self.counts = torch.empty(len(centers), dtype=torch.float32, device=features.device)
        row_bytes = KERNEL_SIZE * features.shape[1] * features.element_size()
        parts = max(1, triton.cdiv(len(centers) * row_bytes, CHUNK_BYTES))
        self.rows = max(1, triton.cdiv(len(centers), parts))
        self.buffer = features.new_empty(min(self.rows, len(centers)), KERNEL_SIZE * features.shape[1])

    def chunks(self) -> list[tuple[int, int]]:
        """First row and number of rows of each chunk."""
        total = len(self.centers)
        return [(first, min(self.rows, total - first)) for first in range(0, total, self.rows)]

    def of(self, first: int, rows: int) -> Tensor:
        """(rows, 15 C), valid until the next call."""
        channels = self.features.shape[1]
        block = min(128, max(16, triton.next_power_of_2(channels)))
        # tl.dot may round float32 to TF32; torch's switch for matrix products decides here as well.
        precision = "tf32" if _allows_tf32() else "ieee"
        with torch.cuda.device_of(self.features):
            _sum_neighbors[(rows, triton.cdiv(channels, block))](
                self.features,
                self.centers,
                self.others,
                self.table,
                self.table if self.starts is None else self.starts,
                self.kernel_points,
                self.table if self.positive is None else self.positive,
                self.buffer,
                self.counts,
                first,
                len(self.others),
                channels,
                self.table.shape[-1],
                1 / self.sigma,
                TRANSPOSED=self.starts is not None,
                POSITIVE=self.positive is not None,
                BLOCK_K=32,
                BLOCK_C=block,
                PRECISION=precision,
                num_warps=max(1, block // 32),
                # A pipeline does not pay off for two blocks of neighbours, and Triton 3.0 fails to build it.
                num_stages=1,
            )
        return self.buffer[:rows]


def _allows_tf32() -> bool:
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # since torch 2.9; once it was set, `allow_tf32` raises
        return bool(matmul.fp32_precision == "tf32")
    return bool(matmul.allow_tf32)


@triton.jit(do_not_specialize=["first", "num_others"])
def _sum_neighbors(
    features,
    centers,
    others,
    table,
    starts,
    kernel_points,
    positive,
    sums,
    counts,
    first,
    num_others,
    channels,
    width,
    inverse_sigma,
    TRANSPOSED: tl.constexpr,
    POSITIVE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """sums[row, k, c] = sum over neighbours j of max(0, 1 - |r_j - kernel_k| / sigma) features[j, c]."""
    row = tl.program_id(0).to(tl.int64)
    center = first + row
    kernel = tl.arange(0, 16)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    real = kernel < 15
    kernel_x = tl.load(kernel_points + kernel * 3, mask=real, other=0.0)
    kernel_y = tl.load(kernel_points + kernel * 3 + 1, mask=real, other=0.0)
    kernel_z = tl.load(kernel_points + kernel * 3 + 2, mask=real, other=0.0)
    x = tl.load(centers + center * 3)
    y = tl.load(centers + center * 3 + 1)
    z = tl.load(centers + center * 3 + 2)
    if TRANSPOSED:
        begin = tl.load(starts + center)
        end = tl.load(starts + center + 1)
    else:
        begin = center * width
        end = begin + width
    total = tl.zeros((16, BLOCK_C), tl.float32)
    counted = tl.zeros((BLOCK_K,), tl.float32)
    for start in range(begin, end, BLOCK_K):
        entry = start + tl.arange(0, BLOCK_K)
        other = tl.load(table + entry, mask=entry < end, other=num_others).to(tl.int64)
        valid = other < num_others
        dx = tl.load(others + other * 3, mask=valid, other=0.0) - x
        dy = tl.load(others + other * 3 + 1, mask=valid, other=0.0) - y
        dz = tl.load(others + other * 3 + 2, mask=valid, other=0.0) - z
        if TRANSPOSED:  # the row is the neighbour, the others are the queries
            dx, dy, dz = -dx, -dy, -dz
        off_x = dx[None, :] - kernel_x[:, None]
        off_y = dy[None, :] - kernel_y[:, None]
        off_z = dz[None, :] - kernel_z[:, None]
        distance = tl.sqrt(off_x * off_x + off_y * off_y + off_z * off_z)
        influence = tl.maximum(1.0 - distance * inverse_sigma, 0.0)
        influence = tl.where(valid[None, :] & real[:, None], influence, 0.0)
        gathered = tl.load(
            features + other[:, None] * channels + channel[None, :],
            mask=valid[:, None] & (channel < channels)[None, :],
            other=0.0,
        )
        total = tl.dot(influence.to(gathered.dtype), gathered, total, input_precision=PRECISION)
        if POSITIVE:
            valid = tl.load(positive + other, mask=valid, other=0).to(tl.int1)
        counted += valid.to(tl.float32)
    if not TRANSPOSED:
        count = tl.maximum(tl.sum(counted), 1.0)
        total = total / count
        tl.store(counts + center, count)
    target = sums + (row * 15 + kernel[:, None]) * channels + channel[None, :]
    tl.store(target, total.to(sums.dtype.element_ty), mask=real[:, None] & (channel < channels)[None, :])
