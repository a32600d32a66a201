"""Several cameras on one body: their topics, and images of about the same time joined to one job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p.inputs import CameraInputs
from diff2i2p.job import Job
from diff2i2p.parameters import Parameters
from diff2i2p.poses import nanoseconds

LATE = 0.05
"""Seconds that an image waits for those of other cameras, beyond the tolerance of their stamps: on the node's
clock, as a bag may be played slowly, and in fact, as it may be played fast."""


class RigInputs:
    """As `CameraInputs`, for all cameras. `take` gets one job for the images of a moment."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        take: Callable[[Job], None],
    ) -> None:
        self._node, self._parameters, self._health, self._take = node, parameters, health, take
        self._waiting: dict[str, Job] = {}
        self._since = 0
        """When the first of them came, on the node's clock; nanoseconds."""
        self._last = dict.fromkeys(parameters.cameras, time.monotonic())
        self._inputs = [
            CameraInputs(node, parameters, health, diagnostics, self._arrived, camera)
            for camera in parameters.cameras
        ]
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(LATE / 2, self._pass_on_late, clock=wall)

    @property
    def parameters(self) -> Parameters:
        """Can be replaced by parameters with the same topics."""
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: Parameters) -> None:
        self._parameters = parameters
        for inputs in self._inputs:
            inputs.parameters = parameters

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        for inputs in self._inputs:
            inputs.close()

    def tick(self) -> None:
        """Called about once a second; also names a camera that is silent while others are not."""
        for inputs in self._inputs:
            inputs.tick()
        timeout, now = self._parameters.image_timeout, time.monotonic()
        silent = [camera for camera, last in self._last.items() if now - last > timeout]
        self._health.values["silent_cameras"] = ", ".join(silent) or "none"
        for camera in self._last:
            words = f"no image of {camera} for {timeout:g} s" if camera in silent else ""
            self._health.note(f"camera {camera}", words)

    def reset(self) -> None:
        """Time jumped back: drop what waits, it belongs to another time."""
        self._waiting.clear()
        for inputs in self._inputs:
            inputs.reset()

    def _arrived(self, job: Job) -> None:
        self._last[job.name] = time.monotonic()
        stamps = [nanoseconds(waiting.message.header.stamp) for waiting in self._waiting.values()]
        apart = [abs(nanoseconds(job.message.header.stamp) - stamp) for stamp in stamps]
        if job.name in self._waiting or any(value > self._parameters.sync_tolerance * 1e9 for value in apart):
            self._pass_on()
        if not self._waiting:
            self._since = self._node.get_clock().now().nanoseconds
        self._waiting[job.name] = job
        if len(self._waiting) == len(self._inputs):
            self._pass_on()

    def _pass_on_late(self) -> None:
        if not self._waiting:
            return
        by_clock = (self._node.get_clock().now().nanoseconds - self._since) / 1e9
        waited = time.monotonic() - min(job.received for job in self._waiting.values())
        if min(waited, by_clock) > self._parameters.sync_tolerance + LATE:
            self._pass_on()

    def _pass_on(self) -> None:
        jobs = [self._waiting[camera] for camera in self._parameters.cameras if camera in self._waiting]
        self._waiting.clear()
        if jobs:
            self._take(replace(jobs[0], others=tuple(jobs[1:])))
