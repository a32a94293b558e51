"""What a recipe will take before it is started: memory of each GPU, tokens, operations, hours.

`shape.py` (a model without weights) and `plan.py` with `prompts.py` (what a recipe does) →
`rows.py` → `states.py`, `activations.py`, `passes.py`, `generation.py` (bytes) → `memory.py`, and
`compute.py` (tokens, operations, hours) → `estimate.py` → `advice.py`, `assumptions.py`,
`table.py`.
"""

from safegrpo.training.estimate.estimate import Estimate, estimate

__all__ = ["Estimate", "estimate"]
