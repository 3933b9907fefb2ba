"""What the choice of test cases is worth: R² over all ways to choose three of the held-out cases.

The audit states the same of the pruned networks (`verify/luck.py`, with code of its own), as a note. Here every
predictor is asked, because a yardstick has luck too.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from artifacts.numbers import Format
from artifacts.predictors import predictors
from artifacts.render import Table, table_frame
from artifacts.results import Results, target_label
from artifacts.stats import SEED, Held, chosen_r2, seed_r2
from verify.luck import LUCKY_CASES, MOST_CHOICES

FEWEST = 4  # cases; of three there is no choice


def distribution(held: Held) -> tuple[int, np.ndarray]:
    """How many cases are chosen, and R² of each choice, mean over seeds; none below four cases.

    All choices up to `MOST_CHOICES`, beyond as many seeded draws. A choice in which the target does not vary has no R²
    and is left out.
    """
    cases = len(set(held.case))
    if cases < FEWEST:
        return LUCKY_CASES, np.empty(0)
    if comb(cases, LUCKY_CASES) <= MOST_CHOICES:
        chosen = np.array(list(combinations(range(cases), LUCKY_CASES)))
    else:
        generator = np.random.default_rng(SEED)
        chosen = np.array([generator.choice(cases, LUCKY_CASES, replace=False) for _ in range(MOST_CHOICES)])
    counts = np.zeros((len(chosen), cases))
    np.put_along_axis(counts, chosen, 1.0, axis=1)
    values = chosen_r2(held, counts)
    return LUCKY_CASES, values[np.isfinite(values)]


def table(results: Results) -> Table:
    """R² over all cases and over the choices of three of them, for every predictor; no row below four cases."""
    rows, sources = [], {}
    for target in results.targets:
        for label, source, helds in predictors(results):
            held = helds.get(target)
            size, values = distribution(held) if held else (LUCKY_CASES, np.empty(0))
            whole = seed_r2(held) if held else None
            if held is None or whole is None or not values.size:
                continue
            sources[label] = source
            least, five, median, most, best = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
            row: dict[str, str | float | int] = {"target": target_label(target), "predictor": label}
            row |= {"R², all cases": float(whole.mean()), "least": float(least), "5 %": float(five)}
            row |= {"median": float(median), "95 %": float(most), "most": float(best)}
            rows.append(row | {"cases chosen": size, "choices": int(values.size)})
    notes = (
        "R² of every choice of test cases, pooled over their held-out cuts, mean over seeds; least to most are the "
        "quantiles over the choices, beside the R² over all cases. A predictor is no better for a lucky choice: what "
        "such a test set says lies anywhere in this range.",
        *results.footnotes,
    )
    formats = {"": Format(3), "cases chosen": Format(0), "choices": Format(0)}
    expressions = {
        "": "quantile of R² over all choices of the test cases",
        "R², all cases": "1 - SS_res / SS_tot over all labelled held-out cuts, mean over seeds",
        "cases chosen": "cases in the test set",
        "choices": f"ways to choose them in which the target varies; at most {MOST_CHOICES:,}, then drawn",
    }
    caption = f"What the choice of {LUCKY_CASES} test cases is worth."
    labels = ("target", "predictor")
    return Table("split-luck", caption, table_frame(rows), notes, formats, labels, expressions, sources)
