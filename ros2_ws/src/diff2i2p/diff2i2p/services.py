"""The node's services. They pass requests on to the session."""

from __future__ import annotations

from collections.abc import Callable

from nav_msgs.srv import LoadMap, SetMap
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_srvs.srv import Empty, Trigger

from diff2i2p.answers import ready
from diff2i2p.session import Session
from diff2i2p_core.errors import InputError

ACTIONS: dict[str, Callable[[Session], Future]] = {
    "relocalize": lambda session: ready(session.relocalize()),
    "localize_once": lambda session: session.localize_once(),
    "reload_map": lambda session: session.reload_map(),
    "save_pose": lambda session: ready(session.save_pose()),
}

NOT_CONFIGURED = "the node is not configured; see /diagnostics, and configure it"

GLOBAL_SEARCH = "reinitialize_global_localization"
"""AMCL's name, which Nav2's behaviour trees call."""


class Services:
    """`~/relocalize`, `~/localize_once`, `~/reload_map`, `~/save_pose` (std_srvs/Trigger), `~/load_map`,
    `~/set_initial_pose`, and the service that Nav2's behaviour trees call.

    They answer in every lifecycle state; those whose answer has no words log them. `session` returns the
    configured node, or None.
    """

    def __init__(self, node: LifecycleNode, session: Callable[[], Session | None]) -> None:
        self._node = node
        self._session = session
        group = ReentrantCallbackGroup()  # a coroutine blocks its group while it waits
        for name, action in ACTIONS.items():
            node.create_service(Trigger, f"~/{name}", self._callback(action), callback_group=group)
        node.create_service(LoadMap, "~/load_map", self._load_map, callback_group=group)
        node.create_service(SetMap, "~/set_initial_pose", self._set_initial_pose, callback_group=group)
        node.create_service(Empty, GLOBAL_SEARCH, self._search_globally, callback_group=group)

    def _callback(self, action: Callable[[Session], Future]) -> Callable[..., object]:
        async def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            session = self._session()
            if session is None:
                response.message = NOT_CONFIGURED
            else:
                response.success, response.message = await action(session)
            return response

        return answer

    async def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        """The grid of the answer is empty: this map has points."""
        session = self._session()
        if session is None:
            response.result, words = LoadMap.Response.RESULT_UNDEFINED_FAILURE, NOT_CONFIGURED
        else:
            response.result, words = await self._loaded(session, request.map_url)
        if response.result != LoadMap.Response.RESULT_SUCCESS:
            self._node.get_logger().error(f"load_map: {words}")
        return response

    async def _loaded(self, session: Session, url: str) -> tuple[int, str]:
        """The result of LoadMap, in words, too."""
        codes = LoadMap.Response
        try:
            path = session.map_path(url)
        except InputError as error:
            return codes.RESULT_MAP_DOES_NOT_EXIST, str(error)
        if not path.is_file():
            return codes.RESULT_MAP_DOES_NOT_EXIST, f"{path}: no such file"
        failure = codes.RESULT_UNDEFINED_FAILURE if session.loads_map else codes.RESULT_INVALID_MAP_DATA
        success, words = await session.load_map(path)
        return codes.RESULT_SUCCESS if success else failure, words

    def _set_initial_pose(self, request: SetMap.Request, response: SetMap.Response) -> SetMap.Response:
        session = self._session()
        if session is None:
            words = NOT_CONFIGURED
        elif len(request.map.data):
            words = "the grid is not used; leave `map` empty, and call load_map for another map"
        else:
            response.success, words = session.set_initial_pose(request.initial_pose)
        if not response.success:
            self._node.get_logger().error(f"set_initial_pose: {words}")
        return response

    def _search_globally(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        session = self._session()
        if session is not None:
            session.relocalize()
        return response
