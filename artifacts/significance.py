"""Whether two predictors differ, with no more than sixteen tools to tell: a sign-flip test over cases, and Holm's.

Knows arrays only, as `stats.py`. The unit that is exchanged is the case: cuts of one tool err together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats as scipy_stats

from artifacts.stats import SEED, Held, refuse_other_cuts

ALL_PATTERNS = 16  # cases up to which every sign pattern is tried
SIGN_PATTERNS = 2**ALL_PATTERNS  # and as many random ones beyond
_BATCH = 4096  # sign patterns tried at once: bounds the memory, changes nothing


def case_differences(reference: Held, other: Held) -> np.ndarray:
    """By how much the squared error of `other` is larger, summed over the cuts of each case: `[cases]`, cases sorted.

    d_k = Σ_{i in case k} [mean_s (y_i − ŷ_other,is)² − mean_s (y_i − ŷ_reference,is)²], in the target's unit squared, s
    running over each predictor's own seeds. Σ_k d_k ÷ Σ(y − ȳ)² is the difference of the pooled R² (mean over seeds).

    Raises:
        ValueError: the two do not speak of the same cuts.
    """
    refuse_other_cuts(reference, other)
    errors = [((held.prediction - held.measured[:, None]) ** 2).mean(axis=1) for held in (reference, other)]
    cases, where = np.unique(reference.case, return_inverse=True)
    return np.bincount(where, weights=errors[1] - errors[0], minlength=len(cases))


def sign_flip_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p values `[comparisons]` of paired differences `[comparisons, cases]`, by flipping signs of cases.

    The randomisation test of Fisher (1935, The Design of Experiments, §21) and Pitman (1937, Suppl. J. R. Stat. Soc. 4,
    119–130), with Σ_k d_k as statistic. Null hypothesis: within each case the two predictors could be exchanged, that
    is, d_k is symmetric about zero, independently from case to case. It is exact in finite samples under that null
    (not merely under an equal expected R²), whatever the distribution of the d_k and the sizes of the cases; with n
    cases no p is below 2^(1−n). All 2^n patterns are tried up to `ALL_PATTERNS`; beyond, `SIGN_PATTERNS` random ones,
    seeded, the observed one counted among them (Phipson & Smyth 2010).
    """
    if differences.shape[-1] < 2:  # one case: it and its mirror image are all there is, and scipy refuses it
        return np.ones(len(differences))
    found = scipy_stats.permutation_test(
        (differences,),
        lambda values, axis: np.sum(values, axis=axis),
        permutation_type="samples",  # of one sample: signs are flipped
        n_resamples=SIGN_PATTERNS,
        axis=-1,
        vectorized=True,
        batch=_BATCH,
        rng=np.random.default_rng(SEED),
    )
    return np.asarray(found.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values adjusted for all of them being looked at, in the order given.

    Holm (1979, Scand. J. Statist. 6, 65–70): with p_(1) ≤ … ≤ p_(m), the adjusted value of p_(i) is
    max_{j ≤ i} min(1, (m − j + 1)·p_(j)). Rejecting where it is at most α keeps the probability of any false rejection
    at most α, however the comparisons depend on each other.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * float(p[index])))
        adjusted[index] = largest
    return adjusted
