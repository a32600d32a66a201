"""Localizes the images of several cameras as queries of one body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diff2i2p.frames import Frames, Matrix
from diff2i2p.health import Health
from diff2i2p.images import depth_to_metres, image_to_rgb
from diff2i2p.job import Job
from diff2i2p.poses import nanoseconds
from diff2i2p.transforms import TransformException
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.tracker import Tracker


class RigWork:
    """Finds each camera's place on the body in TF, and gives the tracker all images of a moment."""

    def __init__(self, frames: Frames, health: Health) -> None:
        self._frames, self._health = frames, health

    def localize(
        self, tracker: Tracker, job: Job, now: int | None
    ) -> tuple[Job, Localization, NDArray[np.uint8]]:
        """The first of the jobs whose camera has a transform, the answer for its camera with the matches of
        all counted, and its image. InputError if no camera has a transform."""
        jobs, mountings = self._mounted([job, *job.others])
        reference = jobs[0]
        stamp = reference.message.header.stamp
        odom_now = self._odometry(reference)
        images = [image_to_rgb(each.message) for each in jobs]
        cameras = []
        for each, mounting in zip(jobs, mountings, strict=True):
            then = self._odometry(each)
            if odom_now is not None and then is not None:  # the body has moved between the images
                mounting = invert(odom_now) @ then @ mounting
            cameras.append(RigCamera(each.name, each.camera, mounting))
        answer = tracker.localize_rig(
            images,
            cameras,
            nanoseconds(stamp),
            odom_from_body=odom_now,
            depths=[None if each.depth is None else depth_to_metres(each.depth) for each in jobs],
            now_ns=now,
        )
        return reference, self._as_one(answer, reference), images[0]

    def _mounted(self, jobs: list[Job]) -> tuple[list[Job], list[Matrix]]:
        kept, mountings, fault = [], [], ""
        for each in jobs:
            try:
                of_body = self._frames.camera_from_body(each.camera_frame, each.message.header.stamp)
            except TransformException as error:
                fault = f"tf: {str(error).strip() or type(error).__name__}"
                self._health.note(f"tf {each.name}", f"{each.name} is left out: {fault}")
                continue
            self._health.note(f"tf {each.name}", "")
            kept.append(each)
            mountings.append(invert(of_body))
        if not kept:
            raise InputError(fault)
        return kept, mountings

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
