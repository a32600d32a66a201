import math

import cv2
import numpy as np
import torch

from diff2i2p_core.geometry.submaps import _slope


def front_limit(z, columns, rows, shape, footprint_at_1m, rel, ab, maxlev=5):
    height, width = shape
    level = np.clip(np.ceil(np.log2(footprint_at_1m / z)), 0, maxlev).astype(np.int8)
    limit = np.full(shape, np.inf, np.float32)
    for n in range(maxlev + 1):
        mine = np.flatnonzero(level == n)
        if not len(mine):
            continue
        step = 1 << n
        h, w = -(-height // step), -(-width // step)
        cell = torch.from_numpy((rows[mine] >> n) * w + (columns[mine] >> n))
        front = (
            torch.full((h * w,), math.inf)
            .scatter_reduce_(0, cell, torch.from_numpy(z[mine]), "amin")
            .numpy()
            .reshape(h, w)
        )
        tol = front * np.float32(1 + rel) + np.float32(ab) + _slope(front)
        full = tol.repeat(step, 0).repeat(step, 1)[:height, :width]
        np.minimum(limit, full, out=limit)
    return limit


def render_view(
    cloud, cam, spacing, depths, radius=0.85, rel=0.01, ab=0.5, foot=1.5, buf=160, med=3, close=7, minr=1.0
):
    H, W = cam.height, cam.width
    P, C = cloud.points, cloud.colors
    x, y, z = P.T
    k = np.flatnonzero((z > depths[0]) & (z < depths[1]))
    x, y, z = x[k], y[k], z[k]
    if len(k) == 0:
        return np.zeros((H, W, 3), np.uint8), np.zeros((H, W), np.float32)
    u = np.float32(cam.fx) * x / z + np.float32(cam.cx + 0.5)
    v = np.float32(cam.fy) * y / z + np.float32(cam.cy + 0.5)
    ok = (u >= 0) & (u < W) & (v >= 0) & (v < H)
    k, u, v, z = k[ok], u[ok], v[ok], z[ok]
    if len(k) == 0:
        return np.zeros((H, W, 3), np.uint8), np.zeros((H, W), np.float32)
    c = u.astype(np.int64)
    r = v.astype(np.int64)
    s = max(1, round(max(W, H) / buf))
    s2 = int(s)
    cc, rr = c // s2, r // s2
    lim = front_limit(z, cc, rr, (-(-H // s2), -(-W // s2)), foot * spacing * cam.fx / s2, rel, ab * spacing)
    keep = z <= lim[rr, cc]
    k, z, cell = k[keep], z[keep], (r * W + c)[keep]
    zmin = (
        torch.full((H * W,), math.inf)
        .scatter_reduce_(0, torch.from_numpy(cell), torch.from_numpy(z), "amin")
        .numpy()
    )
    keep = z <= zmin[cell] * 1.01 + spacing / 2
    k, z, cell = k[keep], z[keep], cell[keep]
    n = np.bincount(cell, minlength=H * W)
    px = np.flatnonzero(n)
    col = np.stack(
        [np.bincount(cell, weights=C[k, i], minlength=H * W)[px] / n[px] for i in range(3)], 1
    ).astype(np.float32)
    iz = (np.bincount(cell, weights=1 / z, minlength=H * W)[px] / n[px]).astype(np.float32)
    src = np.ones(H * W, np.uint8)
    src[px] = 0
    dist, lab = cv2.distanceTransformWithLabels(
        src.reshape(H, W), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    lut = np.zeros(len(px) + 1, np.int32)
    lut[lab.reshape(-1)[px]] = np.arange(len(px))
    near = lut[lab]
    izi = iz[near]
    mask = dist <= np.clip(radius * spacing * cam.fx * izi, minr, 32)
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((close, close), np.uint8)) > 0
    img = np.rint(col).astype(np.uint8)[near]
    if med:
        img = cv2.medianBlur(img, med)
    return img * mask[..., None], np.where(mask, 1 / izi, 0).astype(np.float32)
