"""rclpy's lifecycle node, without its two ways to end the program."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

SUCCESS = TransitionCallbackReturn.SUCCESS


class ManagedNode(LifecycleNode):
    """Answers a transition that does not fit its state with `success: false`, and can start by itself.

    Up to ROS 2 Kilted, rclpy raises an exception for such a transition, out of the executor.
    """

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__(name, **arguments)
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._on_change_state

    @property
    def state_name(self) -> str:
        return str(self._state_machine.current_state[1])

    def start(self) -> None:
        """Configure and activate, unless a lifecycle manager was faster."""
        if self.state_name == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        wanted = request.transition
        fitting = {row[0]: row[1] for row in self._state_machine.available_transitions}
        if wanted.id in fitting or wanted.label:  # rclpy looks a label up itself
            return self._change_state(request, response)
        words = ", ".join(f"{number} ({label})" for number, label in sorted(fitting.items()))
        self.get_logger().warning(
            f"change_state: the transition {wanted.id} does not fit the state '{self.state_name}', which has "
            f"{words or 'none'}"
        )
        response.success = False
        return response
