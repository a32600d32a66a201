"""Tracks a body from image to image: predicts a prior from pose and motion, and checks the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.rig import RigCamera, check_rig
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.extent import MapExtent
from diff2i2p_core.localization.localizing import Localizing
from diff2i2p_core.localization.motion import Fix, Moment, Prediction, predict
from diff2i2p_core.localization.odometry_fusion import Measured
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.typing import Array

State = Literal["lost", "searching", "tracking"]
"""`lost`: nothing tells where to search; `searching`: earlier images do, but the last one was missed."""


Answer = TypeVar("Answer", Localization, RigLocalization)


@dataclass(frozen=True)
class _Given:
    """A pose from outside, and how far it may be off."""

    map_from_body: Array
    metres: float
    degrees: float
    everywhere: bool
    """Whether that is more than is searched near a prior."""


@dataclass
class _Track:
    """The state between two images."""

    now: Moment | None = None
    fix: Fix | None = None
    """The last pose that was accepted or given."""
    before: Fix | None = None
    """The one before it, if the camera moved from there."""
    given: _Given | None = None
    """The pose at the next image."""
    everywhere: bool = False
    """Whether the fix is a pose known so roughly that there may be several answers around it: near a prior,
    they are not told apart."""
    rival: Fix | None = None
    """A pose from the whole map that contradicts the fix, until it is confirmed."""
    near_misses: Counter[str] = field(default_factory=Counter)
    """Of each camera, since the last pose of any: one that sees nothing does not disturb the others."""
    misses: int = 0
    prior_used: bool = False
    state: State = "lost"


class Tracker:
    """Tracks a body that carries one or more cameras, whose images come one by one or together.

    Predicts a prior for each image, localizes with it, and checks the answer against motion and map. With
    odometry, answers are the mean of what image and prediction tell, weighted by their covariances.

    Images are searched near the prior. After misses there, the next one is searched in the whole map, too, if
    it is missed again. An answer from the whole map that contradicts the prediction is refused as a jump
    until a second one agrees with it, which is searched in the whole map alone. So a robot that was carried
    is found, and a single wrong answer does no harm.

    Call `localize` from one thread only. `reset` and `set_pose` can be called from another thread meanwhile;
    the result of the current image is then not remembered.
    """

    def __init__(self, localizer: Localizing, settings: TrackerSettings | None = None) -> None:
        self.localizer = localizer
        self.settings = settings or TrackerSettings()
        """Can be replaced at any time."""
        self._extent = MapExtent(localizer.map.cloud.points, localizer.map.viewpoints)
        self._track = _Track()

    @property
    def state(self) -> State:
        """The state after the last image."""
        return self._track.state

    @property
    def misses(self) -> int:
        """Number of images without a pose since the last one with a pose."""
        return self._track.misses

    @property
    def prior_used(self) -> bool:
        """Whether the last answer is from a search near a prior."""
        return self._track.prior_used

    def reset(self) -> None:
        """Forget every pose: the next image is searched in the whole map."""
        self._track = _Track()

    def set_pose(self, map_from_body: Array, within: tuple[float, float] | None = None) -> None:
        """Give the pose at the next image, and by how many metres and degrees it may be off.

        These limit the answers that are accepted at once; the default, and the most that is searched near the
        pose, are the localizer's limits. If they are larger, images are searched in the whole map, where
        places that look alike are told apart or refused, until one of them is localized.
        """
        limits = self._limits()
        metres, degrees = within or limits
        everywhere = metres > limits[0] or degrees > limits[1]
        metres = max(metres, self.settings.jump_distance)
        degrees = max(degrees, self.settings.jump_angle_deg)
        self._track = _Track(given=_Given(map_from_body, metres, degrees, everywhere), state="searching")

    def localize(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        stamp_ns: int,
        *,
        body_from_camera: Array | None = None,
        odom_from_body: Array | None = None,
        depth: NDArray[np.float32] | None = None,
        now_ns: int | None = None,
        name: str = "",
    ) -> Localization:
        """The pose of the camera that took `image` (H, W, 3) RGB at `stamp_ns`.

        Args:
            body_from_camera: pose of the camera on the body at that time. None: the camera is the body.
            odom_from_body: odometry at that time.
            depth: (H, W) metres registered to the image.
            now_ns: the current time, for refusing images that are too old.
            name: the camera's name, if there are several.

        In addition to the localizer's reasons, there are those that begin with "jump", "outside the map" or
        "stale".
        """
        mounting = np.eye(4) if body_from_camera is None else body_from_camera
        if stale := self._stale(stamp_ns, now_ns):
            return Localization.refused(stale)

        def search(prior: Array | None) -> tuple[Localization, Measured | None]:
            of_camera = None if prior is None else prior @ mounting
            answer = self.localizer.localize(image, camera, prior=of_camera, depth=depth)
            pose, covariance = answer.map_from_camera, answer.covariance
            if pose is None:
                return answer, None
            body = pose @ invert(mounting)
            lever = body[:3, 3] - pose[:3, 3]
            return answer, Measured(body, None if covariance is None else covariance_at(covariance, lever))

        def placed(answer: Localization, body: Array, covariance: Array) -> Localization:
            pose = body @ mounting
            return answer.at(pose, covariance_at(covariance, pose[:3, 3] - body[:3, 3]))

        return self._followed(search, placed, mounting, name, stamp_ns, odom_from_body)

    def localize_rig(
        self,
        images: Sequence[NDArray[np.uint8]],
        cameras: Sequence[RigCamera],
        stamp_ns: int,
        *,
        odom_from_body: Array | None = None,
        depths: Sequence[NDArray[np.float32] | None] | None = None,
        now_ns: int | None = None,
    ) -> RigLocalization:
        """The pose of the body that took `images`, one with each of `cameras`, at `stamp_ns`.

        If an image was taken a little earlier or later, its camera's `body_from_camera` is from the body at
        `stamp_ns`. Otherwise as `localize`.
        """
        check_rig(cameras)
        if stale := self._stale(stamp_ns, now_ns):
            return RigLocalization.refused(stale)

        def search(prior: Array | None) -> tuple[RigLocalization, Measured | None]:
            answer = self.localizer.localize_rig(images, cameras, prior=prior, depths=depths)
            pose = answer.map_from_body
            return answer, None if pose is None else Measured(pose, answer.covariance)

        names = " ".join(camera.name for camera in cameras)
        mounting = cameras[0].body_from_camera
        return self._followed(search, RigLocalization.at, mounting, names, stamp_ns, odom_from_body)

    def _followed(
        self,
        search: Callable[[Array | None], tuple[Answer, Measured | None]],
        placed: Callable[[Answer, Array, Array], Answer],
        mounting: Array,
        name: str,
        stamp_ns: int,
        odom_from_body: Array | None,
    ) -> Answer:
        """The answer of `search`, which gets the body's prior and also returns its pose, if it fits. `placed`
        gives it the pose of the body that odometry and image tell together."""
        track = self._track
        track.now = now = (track.now or Moment(stamp_ns, None, 0.0, 0.0)).after(stamp_ns, odom_from_body)
        prediction = self._predict(track, now)
        spent: dict[str, float] = {}
        for prior in self._priors(track, prediction, name):
            track.prior_used = near = prior is not None
            answer, measured = search(prior)
            answer = answer.after(spent)
            if measured is not None:
                pose = measured.map_from_body
                refusal = self._refusal(pose @ mounting, pose, track, prediction, near)
                if not refusal:
                    best = self._accept(measured, track, prediction)
                    if best.map_from_body is pose or best.covariance is None:
                        return answer
                    return placed(answer, best.map_from_body, best.covariance)
                answer = answer.without_pose(refusal)
            spent = answer.latency_ms
        track.misses += 1
        track.near_misses[name] = track.near_misses[name] + 1 if near else 0
        if track.rival is not None and track.rival.moment is now:
            track.near_misses[name] = self.settings.misses  # the next image may confirm it
        track.state = "lost" if prediction is None else "searching"
        return answer

    def _priors(self, track: _Track, prediction: Prediction | None, name: str) -> list[Array | None]:
        """Of the body, for the searches of an image, in order; None for the whole map."""
        if prediction is None or track.everywhere:
            return [None]
        if track.near_misses[name] < self.settings.misses:
            return [prediction.map_from_body]
        return [None] if track.rival is not None else [prediction.map_from_body, None]

    def _stale(self, stamp_ns: int, now_ns: int | None) -> str:
        """Why an image is too old, or "". If it is far back in time, the recording has started again."""
        limit = self.settings.max_age_s
        if now_ns is not None and limit and now_ns - stamp_ns > limit * 1e9:
            return f"stale (taken {(now_ns - stamp_ns) / 1e9:.1f} s ago, at most {limit:g})"
        fix = self._track.fix
        late = 0.0 if fix is None else (fix.moment.stamp_ns - stamp_ns) / 1e9
        if late > self.settings.timeout_s:
            self.reset()
        elif late > 0:
            return f"stale (taken {late:.3f} s before the last localized image)"
        return ""

    def _limits(self) -> tuple[float, float]:
        return self.localizer.settings.prior_distance, self.localizer.settings.prior_angle_deg

    def _predict(self, track: _Track, now: Moment) -> Prediction | None:
        if (given := track.given) is not None:
            track.fix, track.given = Fix(now, given.map_from_body, given.metres, given.degrees), None
            track.everywhere = given.everywhere
        if track.fix is None or not self.settings.use_prior:
            return None
        return predict(track.fix, track.before, now, self.settings, self._limits())

    def _refusal(
        self,
        map_from_camera: Array,
        pose: Array,
        track: _Track,
        prediction: Prediction | None,
        near: bool,
    ) -> str:
        """Why an answer, and so the body's `pose`, is refused, or ""."""
        now = track.now
        assert now is not None
        if outside := self._extent.rejection(map_from_camera[:3, 3], self.settings.map_margin):
            return outside
        misfit = "" if prediction is None else prediction.misfit(pose)
        if not misfit or near:
            return misfit
        rival = track.rival
        expected = None if rival is None else predict(rival, None, now, self.settings, self._limits())
        if expected is not None and not expected.misfit(pose):
            return ""
        track.rival = self._fix(now, pose)
        return misfit

    def _accept(self, measured: Measured, track: _Track, prediction: Prediction | None) -> Measured:
        """Continue the track, and return the pose that image and odometry tell together."""
        assert track.now is not None
        moved_there = prediction is not None and not prediction.misfit(measured.map_from_body)
        best = measured.with_prediction(prediction if moved_there else None)
        track.before = track.fix if moved_there else None
        track.fix = self._fix(track.now, best.map_from_body, best.covariance)
        track.everywhere = False
        track.rival = None
        track.misses = 0
        track.near_misses.clear()
        track.state = "tracking"
        return best

    def _fix(self, now: Moment, pose: Array, covariance: Array | None = None) -> Fix:
        return Fix(now, pose, self.settings.jump_distance, self.settings.jump_angle_deg, covariance)
