"""What a viser server shows."""

from __future__ import annotations

from typing import Any


def drawn(server: Any) -> dict[str, Any]:
    """What is drawn, by name."""
    return dict(server.scene._handle_from_node_name)


def panel(server: Any) -> str:
    """The words of the panel."""
    from viser import GuiMarkdownHandle

    children = server.gui._container_handle_from_uuid["root"]._children.values()
    return "\n".join(handle.content for handle in children if isinstance(handle, GuiMarkdownHandle))


def sliders(server: Any) -> dict[str, Any]:
    from viser import GuiSliderHandle

    handles = server.gui._gui_input_handle_from_uuid.values()
    return {handle.label: handle for handle in handles if isinstance(handle, GuiSliderHandle)}
