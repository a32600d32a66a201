"""Where the map comes from: clouds on a topic, or a file that a service can reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2

from diff2i2p.answers import Answer, Answers, ready
from diff2i2p.clouds import check_cloud, content_of
from diff2i2p.diagnostics import Diagnostics
from diff2i2p.headers import check_map_frame
from diff2i2p.health import Health
from diff2i2p.map_names import map_path
from diff2i2p.parameters import Parameters
from diff2i2p.qos import latched_qos
from diff2i2p.subscriptions import Subscriptions

TIMEOUT = 120.0
"""Seconds after which a request is answered that the map is not loaded yet."""


class MapInputs:
    """Subscribes to `map_cloud` if no map file is given.

    `put` passes the work on: ("map_cloud", message) or ("map_file", path). `loaded` and `failed` report the
    outcome, and may be called from another thread.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        put: Callable[[str, Any], object],
    ) -> None:
        self._node = node
        self._map_frame = parameters.map_frame
        self._put = put
        self._answers = Answers(node)
        self._last_cloud = 0
        self._requested = self._opened = ""
        """The file that `load` asked for, and that was opened for it."""
        self._clouds: Subscriptions | None = None
        if not parameters.map:
            self._clouds = Subscriptions(node, health, diagnostics)
            self._clouds.add(PointCloud2, "map_cloud", self._on_cloud, latched_qos())

    def close(self) -> None:
        self._drop_topic()
        self.failed("the node was cleaned up")

    @property
    def busy(self) -> bool:
        """Whether a request is being worked on."""
        return bool(self._answers)

    def reload(self) -> Future:
        """Load the file that the parameter `map` names now. Returns a future of the answer."""
        name = str(self._node.get_parameter("map").value)
        if self._clouds is not None:
            return ready((False, "the map comes from the topic map_cloud; publish it again there"))
        if not name:
            return ready((False, "the parameter map is empty; set it to a map file"))
        return self._open(name)

    async def load(self, path: Path) -> Answer:
        """Load another file. If that succeeds, it becomes the parameter `map`, and clouds are ignored."""
        answer: Answer = await self._open(str(path), for_parameter=True)
        self._adopt()
        return answer

    def path_of(self, url: str) -> Path:
        """The file that a request means: names are those beside the file that the parameter names."""
        return map_path(url, Path(str(self._node.get_parameter("map").value)).expanduser().parent)

    def tick(self) -> None:
        """Name a topic of another type, and answer the requests that have waited too long."""
        self._adopt()
        if self._clouds is not None and not self._last_cloud:
            self._clouds.tick()
        self._answers.expire(f"the map is still being loaded after {TIMEOUT:g} s")

    def loaded(self, words: str) -> None:
        self._opened, self._requested = self._requested, ""
        self._answers.answer((True, words))

    def failed(self, words: str) -> None:
        self._last_cloud = 0  # the same cloud may be tried again
        self._answers.answer((False, words))

    def _open(self, name: str, *, for_parameter: bool = False) -> Future:
        if self.busy:
            return ready((False, "busy: the map is being loaded"))
        self._requested = name if for_parameter else ""
        answer = self._answers.ask(TIMEOUT)
        self._put("map_file", name)
        return answer

    def _adopt(self) -> None:
        """On the executor's thread, as parameters and subscriptions are used there."""
        if self._opened:
            self._node.set_parameters([Parameter("map", value=self._opened)])
            self._opened = ""
            self._drop_topic()

    def _drop_topic(self) -> None:
        if self._clouds is not None:
            self._clouds.close()
            self._clouds = None

    def _on_cloud(self, message: PointCloud2) -> None:
        check_cloud(message)
        check_map_frame(message.header.frame_id, self._map_frame, "map cloud", "make them equal")
        content = content_of(message)
        if content != self._last_cloud:  # some publishers repeat a cloud instead of latching it
            self._last_cloud = content
            self._put("map_cloud", message)
