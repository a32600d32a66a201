"""TUM trajectory files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.io.trajectories import read_trajectory, write_trajectory


def test_known_text_of_a_quarter_turn_about_z(tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    write_trajectory(path, [1.5], [exp([0, 0, np.pi / 2, 1, 2, 3])])
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    values = [float(word) for word in lines[1].split()]
    np.testing.assert_allclose(values, [1.5, 1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-9)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = [exp(rng.normal(0, 1, 6)) for _ in range(5)]
    stamps = [1700000000.0 + 0.1 * i for i in range(5)]
    write_trajectory(tmp_path / "t.tum", stamps, poses)
    read_stamps, read_poses = read_trajectory(tmp_path / "t.tum")
    np.testing.assert_allclose(read_stamps, stamps, atol=1e-6)
    np.testing.assert_allclose(read_poses, poses, atol=1e-8)


@pytest.mark.parametrize(
    "text",
    [
        "1 0 0 0 0 0 1\n",
        "1 0 0 0 0 0 0 0\n",
        "# nothing\n",
        "a b c d e f g h\n",
        "1 nan 0 0 0 0 0 1\n",
        "1 0 0 0 0 0 0 2\n",
        "1 0 0 0 0 0 0 1\na b c d e f g h\n",
        "1 0 0 0 0 0 0 1 7 8\n",
        "#timestamp,p_RS_R_x [m],q_RS_w [],q_RS_x [],q_RS_y [],q_RS_z []\n1,0,0,0,1,0,0,0\n",
        "t x y z qw qx qy qz\n1 0 0 0 1 0 0 0\n",
        "1 0 0 0 0.7 0.7 inf_ 1\n",
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.tum"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.tum"):
        read_trajectory(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        read_trajectory(tmp_path / "none.tum")


LINES = ["1.5 1 2 3 0 0 0 1", "2.5 4 5 6 0 0 1 0"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\r\n".join(["timestamp tx ty tz qx qy qz qw", *LINES]),
        "\ufeff#timestamp x y z qx qy qz qw id\n" + "\n".join(f"{line} 7" for line in LINES),
        "\n".join(line.replace(" ", ",") for line in LINES) + ",\n",
        "\n".join(line.replace(" ", ", ") for line in ["t tx ty tz qx qy qz qw", *LINES]),
        "\n".join(line.replace(" ", ";") for line in LINES),
        "\n".join(line.replace(" ", "\t") for line in LINES),
    ],
)
def test_files_of_other_programs(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.tum").write_text(text, encoding="utf-8")
    stamps, poses = read_trajectory(tmp_path / "t.tum")
    assert stamps == [1.5, 2.5]
    np.testing.assert_allclose([pose[:3, 3] for pose in poses], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(poses[1][:3, :3], np.diag([-1, -1, 1]), atol=1e-12)


@pytest.mark.parametrize(
    "stamp", ["1700000000.5", "1700000000500", "1700000000500000", "1700000000500000000"]
)
def test_units_of_stamps_since_1970(tmp_path: Path, stamp: str) -> None:
    (tmp_path / "t.tum").write_text(f"{stamp} 1 2 3 0 0 0 1\n")
    assert read_trajectory(tmp_path / "t.tum")[0] == [1700000000.5]


def test_lost_poses_are_left_out_and_counted(tmp_path: Path) -> None:
    lost = ["2 nan nan nan nan nan nan nan", "nan 0 0 0 0 0 0 1", "2 0 0 inf 0 0 0 1", "2 0 0 0 0 0 0 0"]
    (tmp_path / "t.tum").write_text("\n".join([LINES[0], *lost, LINES[1]]))
    notes: list[str] = []
    assert read_trajectory(tmp_path / "t.tum", notes.append)[0] == [1.5, 2.5]
    (note,) = notes
    assert note.endswith("t.tum: 4 of 6 poses left out, because they are NaN or without rotation")


@pytest.mark.parametrize(
    "header",
    [
        "time,x,y,z,w,i,j,k",
        "# stamp tx ty tz qw qx qy qz",
        "#stamp [ns],p_RS_R_x [m],p_RS_R_y [m],p_RS_R_z [m],q_RS_w [],q_RS_x [],q_RS_y [],q_RS_z []",
    ],
)
def test_another_order_of_the_quaternion_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "path.csv"
    path.write_text(f"{header}\n1.0,0,0,0,1,0,0,0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"path\.csv, line 1: the quaternion is in another order"):
        read_trajectory(path)
