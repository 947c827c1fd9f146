"""Where in a slice the model's answer comes from: hints for people, never segmentations."""

from sadmil_core.explain.explainer import Explainer
from sadmil_core.explain.explanation import HINT, Explanation, Method

__all__ = ["HINT", "Explainer", "Explanation", "Method"]
