"""The models a user can choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.modelstore import installed_models
from viewer.model.state import ModelItem

if TYPE_CHECKING:
    from viewer.model.state import ModelChoice


def model_items(chosen: ModelChoice | None) -> tuple[ModelItem, ...]:
    """The installed models that can be used, and the chosen one where it is a file elsewhere.

    Args:
        chosen: The model in use.
    """
    usable = [model for model in installed_models() if model.header is not None]
    names = [model.name for model in usable]
    items = [
        ModelItem(
            f"{model.name} (shipped)"
            if names.count(model.name) > 1 and model.shipped
            else model.name,
            model.path,
            model.name,
        )
        for model in usable
    ]
    if chosen is not None and all(item.path != chosen.path for item in items):
        items.append(ModelItem(f"{chosen.header.name} (file)", chosen.path))
    return tuple(items)
