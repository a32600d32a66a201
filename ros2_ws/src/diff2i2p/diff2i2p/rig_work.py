"""Localizes the images of several cameras as queries of one body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diff2i2p.frames import Frames, Matrix
from diff2i2p.health import Health
from diff2i2p.images import depth_to_metres, image_to_rgb
from diff2i2p.job import Job
from diff2i2p.poses import nanoseconds
from diff2i2p.transforms import TransformException
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.images import check_images
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.tracker import Tracker


@dataclass(frozen=True)
class _View:
    """The decoded images of a job, and its camera's place on the body at their time."""

    job: Job
    body_from_camera: Matrix
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None


class RigWork:
    """Finds each camera's place on the body in TF, and gives the tracker all images of a moment."""

    def __init__(self, frames: Frames, health: Health) -> None:
        self._frames, self._health = frames, health

    def localize(
        self, tracker: Tracker, job: Job, now: int | None
    ) -> tuple[Job, Localization, NDArray[np.uint8]]:
        """The first of the jobs that can be used, the answer for its camera with the matches of all counted,
        and its image. InputError if none can be used."""
        views = self._usable([job, *job.others])
        reference = views[0].job
        odom_now = self._odometry(reference)
        cameras = []
        for view in views:
            mounting, then = view.body_from_camera, self._odometry(view.job)
            if odom_now is not None and then is not None:  # the body has moved between the images
                mounting = invert(odom_now) @ then @ mounting
            cameras.append(RigCamera(view.job.name, view.job.camera, mounting))
        answer = tracker.localize_rig(
            [view.image for view in views],
            cameras,
            nanoseconds(reference.message.header.stamp),
            odom_from_body=odom_now,
            depths=[view.depth for view in views],
            now_ns=now,
        )
        return reference, self._as_one(answer, reference), views[0].image

    def _usable(self, jobs: list[Job]) -> list[_View]:
        """What can be used; the others are named in the status, and do not spoil it."""
        views, faults = [], []
        for job in jobs:
            words = ""
            try:
                views.append(self._view(job))
            except TransformException as error:
                words = f"tf: {str(error).strip() or type(error).__name__}"
            except InputError as error:
                words = str(error)
                self._health.count("image_faults")
            self._health.note(f"use of {job.name}", f"{job.name} is left out: {words}" if words else "")
            faults += [words] if words else []
        if not views:
            raise InputError(faults[0])
        return views

    def _view(self, job: Job) -> _View:
        of_body = self._frames.camera_from_body(job.camera_frame, job.message.header.stamp)
        image = image_to_rgb(job.message)
        depth = None if job.depth is None else depth_to_metres(job.depth)
        check_images(image, job.camera, depth)
        return _View(job, invert(of_body), image, depth)

    def _odometry(self, job: Job) -> Matrix | None:
        try:
            return self._frames.odom_from_body(job.camera_frame, job.message.header.stamp)
        except TransformException:
            return None

    def _as_one(self, answer: RigLocalization, job: Job) -> Localization:
        shares = answer.cameras
        self._health.values["cameras"] = (
            ", ".join(f"{name}: {share.num_inliers} inliers" for name, share in shares.items()) or "none"
        )
        self._health.values["contributing"] = ", ".join(answer.contributing) or "none"
        if job.name not in shares:
            return Localization.refused(answer.reason)
        return replace(
            shares[job.name],
            num_correspondences=answer.num_correspondences,
            num_inliers=answer.num_inliers,
            inlier_ratio=answer.num_inliers / max(answer.num_correspondences, 1),
            agreement=answer.agreement,
            latency_ms=answer.latency_ms,
            warnings=answer.warnings,
        )
