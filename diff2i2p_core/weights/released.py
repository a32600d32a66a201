"""Translates the tensor names of the published checkpoints to those of this implementation."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

_QKV = {"q": "query", "k": "key", "v": "value"}
_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^img_backbone\.encoder1\.", "image_backbone.stem."),
    (r"^img_backbone\.encoder([234])\.", lambda m: f"image_backbone.stages.{int(m[1]) - 2}."),
    (r"^img_backbone\.decoder4_1\.conv\.", "image_backbone.top."),
    (r"^img_backbone\.decoder([23])_1\.conv\.", lambda m: f"image_backbone.laterals.{int(m[1]) - 2}."),
    (r"^img_backbone\.decoder([23])_2\.0\.", lambda m: f"image_backbone.merges.{int(m[1]) - 2}.0."),
    (r"^img_backbone\.decoder([23])_2\.1\.conv\.", lambda m: f"image_backbone.merges.{int(m[1]) - 2}.1."),
    (r"^img_backbone\.decoder1_1\.conv\.", "image_backbone.stem_lateral."),
    (r"^img_backbone\.decoder1_2\.0\.", "image_backbone.stem_merge.0."),
    (r"^img_backbone\.decoder1_2\.1\.conv\.", "image_backbone.stem_merge.1."),
    (r"^img_backbone\.out_proj\.conv\.", "image_backbone.project."),
    (r"^img_pyramid\.downsample([12])\.", lambda m: f"node_pyramid.downsamples.{int(m[1]) - 1}."),
    (r"^img_pyramid\.latent_([123])\.", lambda m: f"node_pyramid.outputs.{int(m[1]) - 1}."),
    (r"\.identity\.", ".shortcut."),
    (r"^pcd_backbone\.encoder1_1\.", "point_backbone.stem."),
    (r"^pcd_backbone\.encoder1_2\.", "point_backbone.levels.0.0."),
    (
        r"^pcd_backbone\.encoder([234])_([123])\.",
        lambda m: f"point_backbone.levels.{int(m[1]) - 1}.{int(m[2]) - 1}.",
    ),
    (r"^pcd_backbone\.decoder([123])\.", lambda m: f"point_backbone.decoders.{int(m[1]) - 1}."),
    (r"^pcd_backbone\.out_proj\.", "point_backbone.project."),
    (r"\.unary1\.", ".reduce."),
    (r"\.unary2\.", ".expand."),
    (r"\.unary_shortcut\.", ".shortcut."),
    (r"\.mlp\.", ".linear."),
    (r"\.norm\.norm\.", ".norm."),
    (r"\.conv\.conv\.(weights|bias|kernel_points)$", r".conv.\1"),
    (r"^point_backbone\.stem\.conv\.", "point_backbone.stem."),
    (r"\.conv\.norm\.(weight|bias)$", r".conv.norm.\1"),
    (r"\.weights$", ".weight"),
    (r"^transformer\.img_emb_proj\.", "fusion.image_embedding."),
    (r"^transformer\.pcd_emb_proj\.", "fusion.point_embedding."),
    (r"^transformer\.img_in_proj\.", "fusion.image_input."),
    (r"^transformer\.pcd_in_proj\.", "fusion.point_input."),
    (r"^transformer\.out_proj\.", "fusion.output."),
    (r"^transformer\.transformer\.(\d)\.", r"fusion.layers.\1."),
    (r"\.attention\.attention\.([qkv])_token_layer\.", lambda m: f".{_QKV[m[1]]}."),
    (r"\.attention\.linear\.", ".output."),
    (r"\.attention\.norm\.", ".attention_norm."),
    (r"\.output\.(expand|squeeze)\.", r".\1."),
    (r"(layers\.\d)\.output\.norm\.", r"\1.output_norm."),
    (r"^coord_offset_net\.", "tuning.net."),
]


def translate_name(name: str) -> str:
    """The name in this implementation for a tensor name of the released checkpoint."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def translate_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict with the names of this implementation."""
    return {translate_name(name): tensor for name, tensor in state.items()}
