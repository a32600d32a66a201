"""The node as a process of its own with the scripted localizer: `python scripted_node.py --ros-args ...`.

SCRIPTED_DELAY: seconds for each image. SCRIPTED_SAVE: seconds between two saved poses.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from scripted_localizer import ScriptedLocalizer

from diff2i2p import localization_node, session
from diff2i2p.node import LocalizationNode


class Forgetful(ScriptedLocalizer):
    """For runs of any length."""

    delay = float(os.environ.get("SCRIPTED_DELAY", "0"))

    def localize(self, *arguments: Any, **named: Any) -> Any:
        self.calls.clear()
        return super().localize(*arguments, **named)


session.SAVE_PERIOD = float(os.environ.get("SCRIPTED_SAVE", session.SAVE_PERIOD))
vars(localization_node)["LocalizationNode"] = partial(LocalizationNode, Forgetful)
sys.exit(localization_node.main())
