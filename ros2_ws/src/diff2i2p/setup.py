"""Build script of the ROS package (ament_python). `launch` is a link to the repository's folder."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "diff2i2p"


def files(folder: str, pattern: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob(pattern))


setup(
    name=NAME,
    version="0.1.0",
    description="ROS 2 node of Diff2I2P: a camera's pose in a point cloud map",
    license="Apache-2.0",
    maintainer="Diff2I2P maintainers",
    maintainer_email="diff2i2p@example.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch", "*.launch.py")),
        (f"share/{NAME}/config", files("config", "*")),
        (f"share/{NAME}/rviz", files("rviz", "*.rviz")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": ["localization_node = diff2i2p.localization_node:main"]},
)
