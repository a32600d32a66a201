"""Meshes as clouds: glTF, GLB and OBJ, sampled on their surface. Needs trimesh (the extra `meshes`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.io.raw_cloud import RawCloud, base_of
from diff2i2p_core.typing import Array

SPACING = 0.01
"""Metres between sampled points, if these are not too many."""
MAX_POINTS = 10_000_000
_GREY = 128
"""The colour of a mesh without one, beside others with colours."""
_NO_TEXTURE = (
    "parts of it have texture coordinates but no texture, perhaps because files beside it are missing"
)


def read_mesh(path: Path) -> RawCloud:
    """Points on the surface of all meshes, with the colours of textures, materials or vertices. Points that
    are in no mesh are kept as they are."""
    try:
        import trimesh
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading meshes needs trimesh; install the extra 'meshes' of diff2i2p_core"
        ) from None
    try:
        parts = trimesh.load_scene(str(path)).dump()
    except OSError:
        raise
    except Exception as error:  # trimesh raises many kinds on broken files
        raise InputError(f"{path}: not a complete mesh ({reason(error)}); export it again") from None
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and part.area > 0]
    clouds = [part for part in parts if isinstance(part, trimesh.PointCloud)]
    if not meshes and not clouds:
        raise InputError(f"{path}: holds no mesh and no points; export a mesh with faces")
    area, rng = sum(float(mesh.area) for mesh in meshes), np.random.default_rng(0)
    density = min(1 / SPACING**2, MAX_POINTS / max(area, 1e-9))
    sampled = [_sampled(mesh, int(np.ceil(density * mesh.area)), rng) for mesh in meshes]
    sampled += [(np.asarray(cloud.vertices, np.float64), _colors_of_points(cloud)) for cloud in clouds]
    points = np.concatenate([some for some, _ in sampled])
    colors = None
    if any(some is not None for _, some in sampled):
        colors = np.concatenate(
            [np.full(part.shape, _GREY, np.uint8) if some is None else some for part, some in sampled]
        )
    base = base_of(points)
    notes = [_NO_TEXTURE] if any(_lacks_texture(mesh.visual) for mesh in meshes) else []
    return RawCloud((points - base).astype(np.float32), colors, base=base, notes=notes)


def _lacks_texture(visual: Any) -> bool:
    """Whether a mesh has texture coordinates, but no texture."""
    if visual.kind != "texture" or visual.uv is None:
        return False
    image = _texture(visual.material)
    # Without its .mtl, trimesh gives an .obj four grey pixels.
    return image is None or (image.size == (2, 2) and image.getcolors(1) is not None)


def _texture(material: Any) -> Any:
    """The picture of a material; None if it has none."""
    return getattr(material, "baseColorTexture", None) or getattr(material, "image", None)


def _sampled(mesh: Any, count: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8] | None]:
    """`count` random points on a mesh, and their colours if it has any."""
    until = np.cumsum(mesh.area_faces)
    faces = np.minimum(np.searchsorted(until, rng.random(count) * until[-1]), len(until) - 1)
    first, second = rng.random((2, count))
    outside = first + second > 1
    first[outside], second[outside] = 1 - first[outside], 1 - second[outside]
    shares = np.stack([1 - first - second, first, second], axis=1)

    def between(values: Any) -> Array:
        """Values (V, C) of vertices at the points."""
        corners = np.asarray(values, np.float64)[mesh.faces[faces]]
        return np.asarray(np.einsum("nk,nkc->nc", shares, corners))

    visual = mesh.visual
    colors: Array | None = None
    if visual.kind == "texture":
        colors = _material_colors(visual.material, None if visual.uv is None else between(visual.uv), count)
    elif visual.kind == "vertex":
        colors = between(visual.vertex_colors)[:, :3]
    elif visual.kind == "face":
        colors = np.asarray(visual.face_colors, np.float64)[faces, :3]
    rounded = None if colors is None else np.rint(np.clip(colors, 0, 255)).astype(np.uint8)
    return between(mesh.vertices), rounded


def _material_colors(material: Any, uv: Array | None, count: int) -> Array | None:
    """(N, 3) colours 0-255 of a material at texture coordinates (N, 2), v up. None without any."""
    image = _texture(material)
    if image is None or uv is None:
        color = getattr(material, "baseColorFactor", None)
        color = getattr(material, "diffuse", None) if color is None else color
        return None if color is None else np.tile(np.asarray(color, np.float64)[:3], (count, 1))
    pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    u, v = (uv - np.floor(uv)).T
    rows = np.minimum(((1 - v) * height).astype(int), height - 1)
    texels: Array = pixels[rows, np.minimum((u * width).astype(int), width - 1)].astype(np.float64)
    return texels


def _colors_of_points(cloud: Any) -> NDArray[np.uint8] | None:
    colors = np.asarray(cloud.colors)
    return colors[:, :3].astype(np.uint8) if colors.shape == (len(cloud.vertices), 4) else None
