"""The node's services. They pass requests on to the session."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_srvs.srv import Empty, Trigger

from diff2i2p.answers import ready
from diff2i2p.session import Session

ACTIONS: dict[str, Callable[[Session], Future]] = {
    "relocalize": lambda session: ready(session.relocalize()),
    "localize_once": lambda session: session.localize_once(),
    "reload_map": lambda session: session.reload_map(),
    "save_pose": lambda session: ready(session.save_pose()),
}

GLOBAL_SEARCH = "reinitialize_global_localization"
"""AMCL's name, which Nav2's behaviour trees call."""


class Services:
    """`~/relocalize`, `~/localize_once`, `~/reload_map`, `~/save_pose` (std_srvs/Trigger), and the service
    that Nav2's behaviour trees call.

    They answer in every lifecycle state. `session` returns the configured node, or None.
    """

    def __init__(self, node: LifecycleNode, session: Callable[[], Session | None]) -> None:
        self._session = session
        group = ReentrantCallbackGroup()  # a coroutine blocks its group while it waits
        for name, action in ACTIONS.items():
            node.create_service(Trigger, f"~/{name}", self._callback(action), callback_group=group)
        node.create_service(Empty, GLOBAL_SEARCH, self._search_globally, callback_group=group)

    def _callback(self, action: Callable[[Session], Future]) -> Callable[..., object]:
        async def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            session = self._session()
            if session is None:
                response.message = "the node is not configured; see /diagnostics, and configure it"
            else:
                response.success, response.message = await action(session)
            return response

        return answer

    def _search_globally(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        session = self._session()
        if session is not None:
            session.relocalize()
        return response
