"""SafeGRPO: align a vision-language model to see compositional risk, and measure what changed.

The names here need neither torch nor transformers. Each is loaded on first use, so that a reward
worker or a CI check pays only for what it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safegrpo.behavior import Behavior, classify
    from safegrpo.data.schema import TaggedPair, load_tagged, save_tagged
    from safegrpo.errors import SafeGRPOError
    from safegrpo.reward import RewardBreakdown, Target, score
    from safegrpo.thinking import GUIDE, ParsedResponse, Tags, guided_prompt, load_guide, parse

__version__ = "0.1.0"

_MODULES = {
    "Behavior": "behavior",
    "classify": "behavior",
    "TaggedPair": "data.schema",
    "load_tagged": "data.schema",
    "save_tagged": "data.schema",
    "SafeGRPOError": "errors",
    "RewardBreakdown": "reward",
    "Target": "reward",
    "score": "reward",
    "GUIDE": "thinking",
    "ParsedResponse": "thinking",
    "Tags": "thinking",
    "guided_prompt": "thinking",
    "load_guide": "thinking",
    "parse": "thinking",
}

__all__ = [
    "GUIDE",
    "Behavior",
    "ParsedResponse",
    "RewardBreakdown",
    "SafeGRPOError",
    "TaggedPair",
    "Tags",
    "Target",
    "__version__",
    "classify",
    "guided_prompt",
    "load_guide",
    "load_tagged",
    "parse",
    "save_tagged",
    "score",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
