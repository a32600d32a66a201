"""Files of bags: without metadata, without an end, of ROS 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import STORE1, Sent, as_ros1, tf, transform, write_bag, write_ros1_bag
from replay_room import CAMERA, KnowingLocalizer, each_alone, messages, stamp
from rosbags.rosbag1 import Writer as Writer1

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import check_frames, localize_bag
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_index import BagIndex
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.kinds import TRANSFORMS

IMAGE = "/camera/color/image_raw"


def files_of(bag: Path) -> list[Path]:
    return sorted(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("mcap", [True, False])
def test_a_folder_without_metadata(tmp_path: Path, mcap: bool) -> None:
    """Also one of several files, which are read in the order of time."""
    bag = write_bag(tmp_path / "bag", messages(6), mcap=mcap)
    (bag / "metadata.yaml").unlink()
    assert len(BagCamera(bag).stamps) == 6
    later = write_bag(
        tmp_path / "later", [Sent(s.topic, s.stamp + 10**10, s.content) for s in shifted()], mcap=mcap
    )
    files_of(later)[0].rename(bag / f"a{files_of(later)[0].suffix}")
    assert BagCamera(bag).stamps == [stamp(n) for n in range(6)] + [stamp(n) + 10**10 for n in range(6)]


def shifted() -> list[Sent]:
    sent = messages(6)
    for content in (s.content for s in sent if hasattr(s.content, "header")):
        content.header.stamp.sec += 10
    return sent


def test_metadata_that_names_a_missing_file(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", messages(6))
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("bag.mcap", "bag_0.mcap"))
    camera = BagCamera(bag)
    assert len(camera.stamps) == 6
    assert "metadata.yaml does not fit (" in camera.notes[0]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_an_mcap_cut_anywhere(tmp_path: Path, compressed: bool, with_metadata: bool) -> None:
    """What is whole is read, and the reader says so; never anything but an InputError."""
    bag = write_bag(tmp_path / "bag", large(), mcap=True, compressed=compressed)
    (file,) = files_of(bag)
    data = file.read_bytes()
    if not with_metadata:
        (bag / "metadata.yaml").unlink()
    counts = []
    for size in np.linspace(0, len(data) - 1, 40).astype(int):
        file.write_bytes(data[:size])
        try:
            camera = BagCamera(bag)
        except InputError:
            counts.append(0)
            continue
        assert any("bag.mcap has no end; it is read up to its last whole message" in n for n in camera.notes)
        images = list(camera.images())
        assert [image.stamp for image in images] == camera.stamps == [stamp(n) for n in range(len(images))]
        assert all(len(camera.decode(image)[0]) for image in images)
        counts.append(len(images))
    assert counts == sorted(counts) and counts[-1] == 6 and len(set(counts)) >= (3 if compressed else 6)


def large() -> list[Sent]:
    """Messages of which few fit into a chunk."""
    sent = messages(6)
    for content in (s.content for s in sent if s.topic == IMAGE):
        content.step += 10_000  # padding
        rows = np.random.default_rng(0).integers(0, 256, (48, content.step), np.uint8)
        rows[:, : 64 * 3] = content.data.reshape(48, -1)
        content.data = rows.ravel()
    return sent


def test_zeros_behind_the_cut(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", large())
    (file,) = files_of(bag)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(5000))
    assert len(list(BagCamera(bag).images())) in (2, 3)


def test_a_whole_bag_says_nothing(tmp_path: Path) -> None:
    with Bag(write_bag(tmp_path / "bag", messages(2))) as bag:
        assert bag.notes == [] and bag.remark == ""
    assert BagCamera(tmp_path / "bag").notes == []


def test_a_bag_of_ros1_is_replayed_like_one_of_ros2(tmp_path: Path) -> None:
    camera = BagCamera(write_ros1_bag(tmp_path / "old.bag", messages(6)), pose_topic="/gt")
    check_frames(camera, "odom", "base_link")
    localizer = KnowingLocalizer()
    assert len(localize_bag(camera, each_alone(localizer), odom="odom").results) == 6
    assert [asked.camera for asked in localizer.asked] == [CAMERA] * 6
    assert camera.is_ros1 and camera.stamps == [stamp(n) for n in range(6)] and camera.notes == []


def test_tf_of_old_bags_of_ros1(tmp_path: Path) -> None:
    """Before tf2, the type was tf/tfMessage."""
    from rosbags.typesys import get_types_from_msg

    STORE1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf/msg/tfMessage"))
    with Writer1(tmp_path / "old.bag") as writer:
        connection = writer.add_connection("/tf", "tf/msg/tfMessage", typestore=STORE1)
        content = as_ros1(tf(transform(stamp(0), "base_link", "camera", np.eye(4))))
        old = STORE1.types["tf/msg/tfMessage"](transforms=content.transforms)
        writer.write(connection, stamp(0), STORE1.serialize_ros1(old, "tf/msg/tfMessage"))
    with Bag(tmp_path / "old.bag") as bag:
        assert bag.topics((TRANSFORMS,)) == {"/tf": TRANSFORMS}
        assert BagIndex.of(bag, []).tree.at("base_link", "camera", stamp(0)) is not None
