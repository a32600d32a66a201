"""The topics that the launch arguments ask for. Uses no ROS, so that it can be tested without `launch`."""

from __future__ import annotations

from collections.abc import Sequence

ONE_CAMERA = "camera/image_raw"
"""The default of the argument `image`; a camera that has a name is looked for below that."""


def camera_names(text: str) -> list[str]:
    """The argument `cameras`; ValueError if a name is empty."""
    names = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(names):
        raise ValueError(f"cameras:={text}: a name is empty; give names with commas between them: front,left")
    return names


def camera_remappings(cameras: str, image: str, camera_info: str, depth: str) -> list[tuple[str, str]]:
    """From the node's topics to those of the arguments, which hold one for each of several cameras, with
    commas between them. Empty: camera_info is beside the image; depth is not remapped. ValueError if they
    do not fit."""
    names = camera_names(cameras)
    if names and image == ONE_CAMERA:
        image = ",".join(f"{name}/image_raw" for name in names)
    images = _one_each("image", image, names)
    infos = [f"{topic.rpartition('/')[0]}/camera_info" if "/" in topic else "camera_info" for topic in images]
    if camera_info:
        infos = _one_each("camera_info", camera_info, names)
    below = [f"{name}/" for name in names] or [""]
    pairs = []
    for prefix, topic, info in zip(below, images, infos, strict=True):
        pairs += [
            (f"{prefix}image", topic),
            (f"{prefix}image/compressed", f"{topic}/compressed"),
            (f"{prefix}image/ffmpeg", f"{topic}/ffmpeg"),
            (f"{prefix}camera_info", info),
        ]
    if depth:
        depths = _one_each("depth", depth, names)
        pairs += [(f"{prefix}depth", topic) for prefix, topic in zip(below, depths, strict=True)]
    return pairs


def _one_each(argument: str, text: str, cameras: Sequence[str]) -> list[str]:
    topics = [word.strip() for word in text.split(",")]
    if len(topics) != max(len(cameras), 1) or not all(topics):
        wanted = (
            f"one for each of the cameras {', '.join(cameras)}, in this order" if cameras else "one topic"
        )
        raise ValueError(f"{argument}:={text}: give {wanted}")
    return topics
