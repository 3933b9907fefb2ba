"""Did the weights go that the draw names? Of a pruner that chooses at random; drawn again, by code of the judge's own.

The draw is a public one: PCG64 (O'Neill 2014; its stream is the same in every version of numpy, NEP 19), seeded with
the run's seed, the stage and 0, gives every active position a number, in their order; the lowest ones go.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from verify.folder import Fault, Folder, Run


def as_drawn(folder: Folder, run: Run) -> Iterator[Fault]:
    """Of the pruner `random`, each stage took the active weights that the draw of its seed and stage names."""
    if folder.plan.variant(run.planned.variant).pruner != "random":
        return
    for earlier, later in pairwise(stage.stage for stage in run.checked.stages):
        pairs = zip(run.network(earlier).masks, run.network(later).masks, strict=True)
        active, kept = (np.concatenate([mask.ravel() for mask in side]) for side in zip(*pairs, strict=True))
        places, gone = np.flatnonzero(active), np.flatnonzero(active & ~kept)
        numbers = np.random.PCG64(np.random.SeedSequence([run.planned.seed, later, 0])).random_raw(places.size)
        drawn = places[np.argsort(numbers, kind="stable")[: gone.size]]
        wrong = int((~np.isin(gone, drawn)).sum())
        if wrong:
            message = f"stage {later}: {wrong} of {gone.size} pruned weights are not those that seed"
            data = {"stage": later, "count": wrong}
            yield Fault(f"{message} {run.planned.seed} draws; a choice that is called random was not", data)
