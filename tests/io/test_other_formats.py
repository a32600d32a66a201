"""Text clouds, scans of laser scanners, and meshes."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.clouds import read_cloud, read_cloud_at

POINTS = np.array([[0, 1, 2], [0.5, -1.5, 2.5], [3, 4, 5]], np.float32)
COLORS = np.array([[255, 0, 1], [2, 128, 3], [7, 8, 9]], np.uint8)
INTENSITY = np.array([-1200.0, 0, 2000])


def rows(*columns: np.ndarray, between: str = " ") -> str:
    return "".join(between.join(f"{value:g}" for value in row) + "\n" for row in np.column_stack(columns))


TEXTS = {
    "plain.xyz": rows(POINTS, COLORS),
    "comma.csv": rows(POINTS, COLORS, between=","),
    "semicolon.txt": rows(POINTS, COLORS, between="; "),
    "decimal_comma.csv": rows(POINTS, COLORS, between=";").replace(".", ","),
    "decimal_comma.txt": rows(POINTS, COLORS, between="\t").replace(".", ","),
    "decimal_comma_and_blanks.asc": rows(POINTS, COLORS).replace(".", ","),
    "comma_and_blank.csv": rows(POINTS, COLORS, between=", "),
    "blank_and_comma.csv": rows(POINTS, COLORS, between=" ,"),
    "comment.xyz": "# made by some tool\n\n" + rows(POINTS, COLORS) + "# end\n",
    "names.txt": "x y z nx red green blue\n" + rows(POINTS, POINTS[:, 0], COLORS),
    "cloudcompare.txt": "//X,Y,Z,R,G,B\n3\n" + rows(POINTS, COLORS, between=","),
    "quoted.txt": '"X";"Y";"Z";"R";"G";"B"\n' + rows(POINTS, COLORS, between=";"),
    "count.pts": "3\n" + rows(POINTS, INTENSITY, COLORS),
    "intensity_first.txt": rows(POINTS, INTENSITY, COLORS),
    "intensity_last.asc": rows(POINTS, COLORS, INTENSITY),
    "unit.xyz": rows(POINTS, COLORS / 255),
    "normals.xyz": rows(POINTS, COLORS, -POINTS),
    "mark.xyz": "\ufeff" + rows(POINTS, COLORS).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TEXTS[name].encode())
    cloud = read_cloud(tmp_path / name)
    np.testing.assert_allclose(cloud.points, POINTS)
    assert cloud.colors is not None
    np.testing.assert_allclose(cloud.colors, COLORS, atol=1)
    assert (cloud.intensity is not None) == ("intensity" in name or name == "count.pts")


@pytest.mark.parametrize("first", ["", '"",', ";", ",", " ", None])
def test_row_numbers_are_no_coordinates(tmp_path: Path, first: str | None) -> None:
    """As pandas writes them; without a header (None), they are recognized if there are enough of them."""
    between = ";" if first == ";" else "," if first and first.strip() else " "
    points = POINTS if first is not None else np.tile(POINTS, (4, 1))
    text = rows(np.arange(len(points)), points, between=between)
    if first is not None:
        text = first + between.join("xyz") + "\n" + text
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_allclose(read_cloud(tmp_path / "a.csv").points, points)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_several_scans_as_windows_saves_them(tmp_path: Path, encoding: str) -> None:
    text = "2\n" + rows(POINTS[:2]) + "\n1\n" + rows(POINTS[2:3])
    mark = codecs.BOM_UTF16_BE if encoding.endswith("be") else b""
    (tmp_path / "a.pts").write_bytes(mark + text.encode(encoding))
    np.testing.assert_allclose(read_cloud(tmp_path / "a.pts").points, POINTS[:3], atol=1e-6)
    (tmp_path / "a.pts").write_bytes(codecs.BOM_UTF16_LE + b"1")
    with pytest.raises(InputError, match="UTF-16 text is damaged"):
        read_cloud(tmp_path / "a.pts")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no points"),
        ("# nothing\n", "holds no points"),
        ("1 2\n3 4\n", "'1 2' has 2 numbers instead of 3"),
        ("1 2 3\n4 5 6 7\n", "'4 5 6 7' has 4 numbers instead of 3"),
        ("C 1 2 3\nH 4 5 6\n", "not a row of numbers"),
    ],
)
def test_bad_text(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(InputError, match=words):
        read_cloud(tmp_path / "a.xyz")


def test_columns_without_names_are_said(tmp_path: Path) -> None:
    notes: list[str] = []
    colors = np.tile(COLORS / 255, (20, 1))
    colors[11, 1] = 1.004
    (tmp_path / "a.xyz").write_text(rows(np.tile(POINTS, (20, 1)), colors))
    cloud = read_cloud(tmp_path / "a.xyz", notes.append)
    assert cloud.colors is not None and cloud.colors[0, 0] == 255
    (tmp_path / "a.xyz").write_text(rows(POINTS, INTENSITY, INTENSITY))
    assert read_cloud(tmp_path / "a.xyz", notes.append).intensity is None
    said = [note.partition(": ")[2] for note in notes]
    assert said == [
        "its columns are taken as x, y, z, red, green, blue",
        "its columns are taken as x, y, z, column 4, column 5",
    ]


def test_normals_and_missing_numbers_in_text(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(rows(POINTS, -POINTS))
    assert read_cloud(tmp_path / "a.xyz").colors is None
    (tmp_path / "a.xyz").write_text(rows(POINTS, COLORS) + "1 nan 3 4 5 6\n")
    assert len(read_cloud(tmp_path / "a.xyz")) == 3


def test_e57(tmp_path: Path) -> None:
    pye57 = pytest.importorskip("pye57")
    rng = np.random.default_rng(0)
    local, colors = rng.uniform(-3, 3, (2, 50, 3)), rng.integers(1, 256, (2, 50, 3))
    place, x_axis = np.array([431_234.0, 5_412_345.0, 500.0]), np.array([1, 0, 0])
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        for scan in range(2):
            names = ("cartesianX", "cartesianY", "cartesianZ", "colorRed", "colorGreen", "colorBlue")
            values = [*local[scan].T, *colors[scan].T.astype(np.uint8)]
            data = dict(zip(names, map(np.ascontiguousarray, values), strict=True))
            data["intensity"] = np.linspace(0, 1, 50)
            turned = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])  # 90 deg about z
            file.write_scan_raw(data, rotation=turned, translation=place + scan * x_axis)
    cloud, origin, scanners = read_cloud_at(tmp_path / "a.e57", "auto")
    assert origin is not None
    right = np.concatenate(
        [np.stack([-p[:, 1], p[:, 0], p[:, 2]], axis=1) + i * x_axis for i, p in enumerate(local)]
    )
    np.testing.assert_allclose(cloud.points + origin, right + place, atol=1e-3)
    np.testing.assert_allclose(scanners + origin, [place, place + x_axis])
    np.testing.assert_array_equal(cloud.colors, np.concatenate(colors))
    assert cloud.intensity is not None
    whole = (tmp_path / "a.e57").read_bytes()
    (tmp_path / "b.e57").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a complete E57 file"):
        read_cloud(tmp_path / "b.e57")


def test_scans_of_which_some_have_no_colours_are_said(tmp_path: Path) -> None:
    pye57 = pytest.importorskip("pye57")
    axes = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), POINTS.T.astype(float).copy(), strict=True))
    colors = dict(zip(("colorRed", "colorGreen", "colorBlue"), COLORS.T.copy(), strict=True))
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        for data in ({**axes, **colors}, axes):
            file.write_scan_raw(data, translation=np.zeros(3))
    notes: list[str] = []
    assert read_cloud(tmp_path / "a.e57", notes.append).colors is None
    assert notes == [f"{tmp_path / 'a.e57'}: not all of its scans have colours, which are left out"]


OBJ = """mtllib a.mtl
v 0 0 0
v 2 0 0
v 2 0 1
v 0 0 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl wall
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


def quarters() -> Image.Image:
    """Red above blue, dark at the right."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :, 0] = pixels[32:, :, 2] = 250
    pixels[:, 32:] //= 2
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".gltf"])
def test_textured_mesh(tmp_path: Path, suffix: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    quarters().save(tmp_path / "a.png")
    (tmp_path / "a.mtl").write_text("newmtl wall\nKd 1 1 1\nmap_Kd a.png\n")
    (tmp_path / "a.obj").write_text(OBJ)
    if suffix != ".obj":
        scene = trimesh.load_scene(str(tmp_path / "a.obj"))
        scene.apply_translation([0, 5, 0])
        scene.export(str(tmp_path / f"a{suffix}"))
    cloud = read_cloud(tmp_path / f"a{suffix}")
    x, y, z = cloud.points.T
    assert 19_000 < len(cloud) < 21_000 and np.allclose(y, 0 if suffix == ".obj" else 5)
    assert x.min() >= 0 and x.max() > 1.99 and z.max() > 0.99
    assert cloud.colors is not None
    inner = (np.abs(x - 1) > 0.05) & (np.abs(z - 0.5) > 0.03)
    wanted = np.zeros((len(cloud), 3))
    wanted[z > 0.5, 0] = wanted[z < 0.5, 2] = 250
    wanted[x > 1] /= 2
    np.testing.assert_allclose(cloud.colors[inner], wanted[inner], atol=2)


def test_a_missing_texture_is_said(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    notes: list[str] = []
    (tmp_path / "a.obj").write_text(OBJ)
    for material in ("newmtl wall\nKd 1 1 1\nmap_Kd a.png\n", "newmtl wall\nKd 1 1 1\n"):
        (tmp_path / "a.mtl").write_text(material)
        read_cloud(tmp_path / "a.obj", notes.append)
    (tmp_path / "a.mtl").unlink()
    read_cloud(tmp_path / "a.obj", notes.append)
    assert sum("but no texture, perhaps because files" in note for note in notes) == 3
    assert sum("its colours are all the same" in note for note in notes) == 3 and len(notes) == 6


def test_meshes_with_colours_of_vertices_and_without(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box((1, 2, 3))
    box.visual.vertex_colors = np.where(box.vertices[:, 2:] > 0, [200, 100, 0, 255], [0, 100, 200, 255])
    box.export(str(tmp_path / "a.glb"))
    cloud = read_cloud(tmp_path / "a.glb")
    assert cloud.colors is not None and cloud.colors[cloud.points[:, 2] > 1.499].mean() == pytest.approx(
        100, abs=1
    )
    np.testing.assert_allclose(cloud.colors[:, 0], 200 * (cloud.points[:, 2] / 3 + 0.5), atol=2)
    (tmp_path / "b.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert 4900 < len(read_cloud(tmp_path / "b.obj")) < 5100


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".gltf"])
def test_bad_meshes(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("trimesh")
    for content in (b"", b"nothing", b"glTF\2\0\0\0"):
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(InputError, match="mesh"):
            read_cloud(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("suffix", "module", "extra"), [(".e57", "pye57", "e57"), (".glb", "trimesh", "meshes")]
)
def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a{suffix}").write_bytes(b"any")
    with pytest.raises(InputError, match=f"needs {module}; install the extra '{extra}'"):
        read_cloud(tmp_path / f"a{suffix}")
