"""The lifecycle node: states, parameters and services. Its session does the work."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer

from diff2i2p import parameter_server
from diff2i2p.bond import Bond
from diff2i2p.diagnostics import Diagnostics, in_words
from diff2i2p.health import Health
from diff2i2p.lifecycle import ManagedNode
from diff2i2p.map_origin import MapOrigin
from diff2i2p.packages import FAULTS
from diff2i2p.pipeline import LocalizerClass
from diff2i2p.services import Services
from diff2i2p.session import Session
from diff2i2p.transforms import TransformBroadcaster
from diff2i2p_core.errors import InputError

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LocalizationNode(ManagedNode):
    """Localizes camera images in a point cloud map. Topics, services, parameters: docs/ros2.md."""

    def __init__(self, localizer_class: LocalizerClass | None = None, **arguments: Any) -> None:
        """`localizer_class` replaces diff2i2p_core's Localizer; `arguments` are passed to rclpy's node."""
        super().__init__("diff2i2p", **arguments)
        parameter_server.declare(self)
        self._localizer_class = localizer_class
        self._health = Health()
        self._session: Session | None = None
        self._broadcaster: TransformBroadcaster | None = None
        self._diagnostics = Diagnostics(self, self._health)
        self._bond = Bond(self)
        self._origin = MapOrigin(self)
        self._triggers = Services(self, lambda: self._session)
        wall = Clock(clock_type=ClockType.STEADY_TIME)  # also runs while a simulation is paused
        self._tick_timer = self.create_timer(1.0, self._tick, clock=wall)
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump_handle = self.get_clock().create_jump_callback(backwards, post_callback=self._on_time_jump)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._autostart_timer: Timer | None = None
        if self.get_parameter("autostart").value:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=wall)

    # Lifecycle

    def _autostart(self) -> None:
        assert self._autostart_timer is not None
        self.destroy_timer(self._autostart_timer)
        self.start()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and open the map file, or start waiting for a map cloud."""
        if not self._attempt("configure", self._configure):
            self._release()
            return FAILURE
        self._enter("inactive")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        assert self._session is not None
        if not self._attempt("activate", self._session.activate):
            self._session.deactivate()
            return FAILURE
        self._bond.start()
        self._enter("active")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the camera; the map stays."""
        self._bond.stop()
        if self._session is not None:
            self._session.deactivate()
        self._enter("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop everything that was set up from the parameters."""
        self._release()
        self._enter("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self._enter("finalized")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected exception in a transition: return to unconfigured, to be configured again."""
        self._release()
        self._health.failure = "a transition failed; see the log"
        self._enter("unconfigured")
        return SUCCESS

    def _configure(self) -> None:
        for name, fault in FAULTS.items():
            self.get_logger().warning(f"{name} is installed, but {fault}: the node's own replacement is used")
        values = parameter_server.read(self)
        self._health.parameters = values
        localizer_class = self._localizer_class
        if localizer_class is None:  # imports torch: seconds
            from diff2i2p_core.localization.localizer import Localizer

            localizer_class = Localizer
        if self._broadcaster is None and values.publish_tf:
            self._broadcaster = TransformBroadcaster(self)
        broadcaster = self._broadcaster if values.publish_tf else None
        self._session = Session(
            self, values, localizer_class, broadcaster, self._origin, self._health, self._diagnostics
        )

    def _attempt(self, transition: str, action: Callable[[], None]) -> bool:
        """Run `action`. If it fails, report it in the log and /diagnostics, because rclpy would hide it."""
        self._health.failure = ""
        try:
            action()
        except Exception as error:
            if not self.context.ok():  # the program is ending: nothing can be created or published any more
                return False
            if not isinstance(error, InputError):
                self.get_logger().error(traceback.format_exc())
            self._health.failure = in_words(transition, error)
            self.get_logger().error(f"not {transition}d: {self._health.failure}")
            self._diagnostics.publish()
            return False
        return True

    def _enter(self, state: str) -> None:
        self._health.enter(state)
        self._diagnostics.publish()

    def _release(self) -> None:
        self._bond.stop()
        if self._session is not None:
            self._session.close()
            self._session = None
            gc.collect()  # session, worker and subscriptions refer to each other: else their map stays
        self._health.map = ""

    # While it runs

    def _tick(self) -> None:
        if self._session is not None:
            self._session.tick()
        self._diagnostics.publish_all()

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """Accept all changes or none. No other callback checks our parameters, so they are applied here."""
        session = self._session
        try:
            values = parameter_server.changed(None if session is None else session.parameters, changes, self)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if session is not None and values is not None:
            session.apply(values)
        return SetParametersResult(successful=True)

    def _on_time_jump(self, jump: TimeJump) -> None:
        self.get_logger().warning("time jumped back: transforms, poses and waiting images are forgotten")
        if self._session is not None:
            self._session.time_jumped()

    def destroy_node(self) -> None:
        """Stop the worker before its publishers are destroyed."""
        self._release()
        super().destroy_node()
