"""Near-duplicates among images and among prompts, in sets of 100,000 and more.

`near_images` and `near_prompts` give pairs of indices that join every cluster, at most n - 1 of
n; put them into `Groups`. Being near is not transitive, so the ends of a cluster may be strangers.
Needs imagehash, datasketch and numpy 2.
"""

from safegrpo.data.duplicates.groups import Groups
from safegrpo.data.duplicates.images import HASH_BYTES, image_hash, near_images
from safegrpo.data.duplicates.prompts import JACCARD, near_prompts, prompt_key

__all__ = [
    "HASH_BYTES",
    "JACCARD",
    "Groups",
    "image_hash",
    "near_images",
    "near_prompts",
    "prompt_key",
]
