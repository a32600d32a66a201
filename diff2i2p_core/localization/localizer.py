"""The localizer: from an image and a map to a pose, or to a reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, located
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.io.clouds import usable
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.aligner import Aligner
from diff2i2p_core.localization.answering import first_accepted
from diff2i2p_core.localization.depth_registration import DepthRegistration
from diff2i2p_core.localization.edge_alignment import EdgeAligner
from diff2i2p_core.localization.hypothesis import Hypothesis, Proposer
from diff2i2p_core.localization.network import Diff2I2PNetwork
from diff2i2p_core.localization.proposers import network_weights, proposers_of, surface_of
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.registered_depth import RegisteredDepth
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_joint import can_propose
from diff2i2p_core.localization.rig_query import RigHypothesis, RigQuery
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.rig_views import propose_rig
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify import verify
from diff2i2p_core.localization.verify_rig import verify_rig
from diff2i2p_core.mapping.build import map_of_one_cloud, model_for_map
from diff2i2p_core.mapping.features import Features
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.looks import LOOKS, look_of
from diff2i2p_core.mapping.map_file import PointMap, load_map
from diff2i2p_core.mapping.matchers import Matcher
from diff2i2p_core.mapping.source import MapSource, read_frames
from diff2i2p_core.mapping.units import check_metres
from diff2i2p_core.typing import Array, Image, Progress
from diff2i2p_core.weights.checkpoint import load_model
from diff2i2p_core.weights.device import checked_device

BESIDE = 10.0
"""Metres between maps that are put beside each other."""


class Localizer:
    """Finds the camera's pose in a map. Deterministic; holds no state between images."""

    def __init__(
        self, point_map: PointMap, proposers: Sequence[Proposer], settings: LocalizerSettings | None = None
    ) -> None:
        """`proposers` (one or more) are asked in order until an answer is accepted."""
        self.map = point_map
        self.proposers = tuple(proposers)
        self.settings = settings or LocalizerSettings()  #: Can be replaced at any time.
        self.needs_depth = any(proposer.needs_depth for proposer in self.proposers)
        shared = (proposer.surface for proposer in self.proposers if isinstance(proposer, RegisteredDepth))
        self.surface = next(shared, None) or surface_of(point_map)
        """What the depth of images is registered to."""
        self._aligner = None if point_map.cloud.colors is None else Aligner(point_map)
        self._edges = EdgeAligner.of(point_map)

    @classmethod
    def open(
        cls,
        map_path: Path | str,
        weights: str | Path | None = None,
        *,
        matcher: Matcher = "auto",
        device: str = "cpu",
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """Open a map file. Without `weights`, the network gets the installed ones that the map was built
        with. `matcher` selects among the matchers that the map has features for; `auto` uses all. `depth`
        needs no features, and the depth of each query."""
        checked_device(device)
        point_map = load_map(map_path)
        kinds = [kind for kind in point_map.kinds if matcher in ("auto", kind)]
        if not kinds:
            raise InputError(
                f"{map_path}: has no features for the matcher '{matcher}', only for "
                f"{' and '.join(point_map.kinds)}; use that, or build the map again"
            )
        if weights is not None and "network" not in kinds:
            raise InputError(
                f"{map_path}: weights '{weights}' are given, but only the matcher 'network' uses weights, "
                f"and {'the map has none of its features' if matcher == 'auto' else 'another is chosen'}; "
                "leave them out"
            )
        network = None
        if "network" in kinds:
            network = load_model(network_weights(point_map.info, weights, str(map_path)), device)
        views = None
        if point_map.rendered is not None and "views" in kinds:
            with located(map_path):
                views = point_map.rendered.look.networks(device, point_map.rendered.networks)
        return cls(point_map, proposers_of(point_map, Features(views, network), matcher), settings)

    @classmethod
    def from_cloud(
        cls,
        cloud: PointCloud,
        weights: str | Path | None = None,
        *,
        matcher: Matcher = "auto",
        device: str = "cpu",
        up: str = "auto",
        views: Array | None = None,
        settings: LocalizerSettings | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> Localizer:
        """Build a map from a cloud in memory, for the `matcher` (`auto`: all that the cloud allows). `note`
        is told if rendered views would be possible, but their weights cannot be fetched.

        It is viewed from `views` (V, 4, 4), camera poses in the map, or else from viewpoints in its free
        space. `up` is the axis that points up, one of x, y, z, -x, -y, -z, or `auto`: found from the cloud's
        planes, and reported to `note`.
        """
        cloud = usable(cloud, "the map cloud", note)
        check_metres(cloud.points, "the map cloud")
        features = Features.load(matcher, weights, device, look=look_of(cloud), note=note)
        source = MapSource.unseen(cloud, up, note) if views is None else MapSource(cloud, views, views)
        point_map = features.of(source, "the map cloud")
        return cls(point_map, proposers_of(point_map, features, matcher), settings)

    @classmethod
    def from_frames(
        cls,
        folder: Path | str | PosedFrames,
        numbers: Sequence[int] | None = None,
        weights: str | Path | None = None,
        *,
        matcher: Matcher = "auto",
        beside: Sequence[Path | str] = (),
        colors: bool = True,
        device: str = "cpu",
        settings: LocalizerSettings | None = None,
        progress: Progress | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> Localizer:
        """Build a map from the frames `numbers` (default: all) of a posed RGB-D folder, or one that is open
        already, in memory.

        All frames of the folders `beside` make maps that are put next to it, 10 m apart along x. The right
        place must then be found among them. Without `colors`, only the shape of the places is in the map.
        `note` gets lines about frames that are left out.
        """

        def built(place: Path | str | PosedFrames, numbers: Sequence[int] | None = None) -> PointMap:
            source = read_frames(place, numbers, matcher=matcher, progress=progress, note=note)
            if not colors:
                source = replace(source, cloud=PointCloud(source.cloud.points))
            return features.of(source, str(place), progress)

        features = Features.load(matcher, weights, device, look=LOOKS["colors" if colors else "geometry"])
        point_map = built(folder, numbers)
        if beside:
            others = {f"{place}, beside it": built(place) for place in beside}
            point_map = join_maps({str(folder): point_map, **others}, apart=BESIDE)
        return cls(point_map, proposers_of(point_map, features, matcher), settings)

    @classmethod
    def for_single_cloud(
        cls,
        cloud: PointCloud,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        name: str = "the cloud",
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """Image-to-point-cloud registration as in the papers: the whole cloud is a single submap."""
        check_metres(cloud.points, name)
        model, info = model_for_map(weights, name, device, colored=cloud.colors is not None)
        point_map = map_of_one_cloud(cloud, model, info)
        return cls(point_map, [Diff2I2PNetwork(model, point_map)], settings)

    @classmethod
    def around(
        cls,
        cloud: PointCloud,
        prior: Array,
        *,
        device: str = "cpu",
        name: str = "the cloud",
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """For images taken near one pose (map_from_camera) in a cloud with colours or intensity, such as a
        lidar scan: it is rendered from there."""
        check_metres(cloud.points, name)
        if not is_rigid(prior):
            raise InputError("prior: not a finite rigid transform; give x,y,z,qx,qy,qz,qw")
        features = Features.load("views", device=device, look=look_of(cloud))
        point_map = features.of(MapSource(cloud, prior[None], prior[None]), name)
        return cls(point_map, proposers_of(point_map, features), settings)

    @torch.inference_mode()
    def localize(
        self,
        image: Image,
        camera: Camera,
        *,
        prior: Array | None = None,
        depth: NDArray[np.float32] | None = None,
    ) -> Localization:
        """The pose of the camera that took `image` (H, W, 3) RGB.

        `prior` is a map_from_camera; only its surroundings are searched, if the map has any there. `depth`
        (H, W) in metres, registered to the image pixel by pixel, refines and confirms poses in maps of all
        kinds, and finds poses without an image's features. The matcher `depth` and weights of the mode
        `rgbd` need it. Image and depth are rectified here if the camera has distortion.
        """
        settings = self._settings_for_map
        query = Query.of(image, camera, settings, depth=depth, prior=prior, device=self._device)
        return replace(self._answer(query), warnings=(*camera.doubts, *self.map.doubts))

    @torch.inference_mode()
    def localize_rig(
        self,
        images: Sequence[Image],
        cameras: Sequence[RigCamera],
        *,
        prior: Array | None = None,
        depths: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> RigLocalization:
        """The pose of the body that carries `cameras`, from one image (H, W, 3) RGB of each at one time.

        Any camera can find the place; then the matches of all of them determine the pose. A camera that sees
        nothing useful does no harm. `prior` is a map_from_body; `depths` has one for each image, as in
        `localize`. Cameras without depth are left out by a matcher that needs it; if all are, it is refused.
        """
        settings = self._settings_for_map
        rig = RigQuery.of(images, cameras, settings, depths=depths, prior=prior, device=self._device)
        answer = self._rig_answer(rig)
        doubts = [f"{each.name}: {doubt}" for each in cameras for doubt in each.camera.doubts]
        return replace(answer, warnings=(*doubts, *self.map.doubts))

    @property
    def _settings_for_map(self) -> LocalizerSettings:
        rendered = self.map.rendered
        return self.settings if rendered is None else self.settings.for_look(rendered.look.name)

    @property
    def _device(self) -> torch.device:
        """Where images are put: on the GPU if any proposer uses it."""
        devices = (proposer.device for proposer in self.proposers)
        return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))

    def _rig_answer(self, rig: RigQuery) -> RigLocalization:
        aligner = self._aligner if rig.settings.align else None
        aligns = [aligner.to(query) for query in rig.queries] if aligner else []
        able = [each for each in self.proposers if any(can_propose(each, query) for query in rig.queries)]
        nothing = "nothing proposes a pose" if able else "no camera has depth, which the matcher needs"
        answer = RigLocalization.refused(nothing)

        def judge(hypotheses: Sequence[RigHypothesis], searched: bool) -> RigLocalization:
            return verify_rig(rig, hypotheses, aligns, searched=searched)

        return first_accepted((propose_rig(proposer, rig) for proposer in able), judge, answer)

    def _answer(self, query: Query) -> Localization:
        align = self._aligner.to(query) if self._aligner and query.settings.align else None
        registration = DepthRegistration.of(query, self.surface)
        fit = None if registration is None else registration.fit
        edges = self._edges.to(query) if self._edges and query.settings.align else None
        answer = Localization.refused("nothing proposes a pose")

        def judge(hypotheses: Sequence[Hypothesis], searched: bool) -> Localization:
            return verify(query, hypotheses, align, fit, edges, searched=searched)

        proposals = (proposer.propose(query) for proposer in self._in_order(query))
        return first_accepted(proposals, judge, answer)

    def _in_order(self, query: Query) -> Sequence[Proposer]:
        """The proposers for a query. Depth is faster and more exact than shapes, less exact than colours."""
        if query.depth is None or self._aligner is not None:
            return self.proposers
        return sorted(self.proposers, key=lambda proposer: proposer.name != RegisteredDepth.name)

    def warm_up(self, *, depth: bool = False) -> None:
        """Localize a synthetic image, because the first one takes longer; with `depth`, the first depth."""
        image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        plane = np.full((480, 640), 2, np.float32) if depth or self.needs_depth else None
        for prior in (None, *self.map.viewpoints[:1]):  # from a view, the map is rendered
            self.localize(image, Camera(640, 480, 550, 550, 320, 240), depth=plane, prior=prior)
