"""
Which of two time series is the cause?
======================================

If one series is a linear filter of the other, then in the causal direction the filter's
power spectrum knows nothing of the spectrum that it filters: the spectral dependence
ratio is about 1 there, and below 1 the other way round (Shajarisales, Janzing,
Schölkopf, Besserve, 2015, arXiv 1503.01299).
"""

# %%
# With spectra S_x and S_y, the filter's power is S_y / S_x. Both need power at every
# frequency; windows bias both ratios, and with noise their product may exceed 1.
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import welch


def ratio(cause, effect):
    """<S_effect> / (<S_cause> <S_effect / S_cause>), without frequency 0."""
    s_x, s_y = (welch(v / v.std(), nperseg=256)[1][1:] for v in (cause, effect))
    return s_y.mean() / (s_x.mean() * (s_y / s_x).mean())


# %%
# A filter of which the answer is known: a value, and half of the one before it.
rng = np.random.RandomState(0)
white = rng.randn(400_000)
power = np.abs(1 + 0.5 * np.exp(-1j * np.linspace(0, np.pi, 1000))) ** 2
exact = 1 / power.mean() / (1 / power).mean()
found = ratio(white + 0.5 * np.roll(white, 1), white)
print(
    f"Backward ratio {found:.3f}, exactly {1 / power.mean() / (1 / power).mean():.3f}"
)

# %%
# Random filters of 12 taps, of white noise.
ratios = []
for _ in range(50):
    cause = rng.randn(20_000)
    effect = np.convolve(cause, rng.randn(12), mode="same")
    ratios.append((ratio(cause, effect), ratio(effect, cause)))
ratios = np.array(ratios)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(ratios, bins=20, label=["cause to effect", "effect to cause"])
ax.axvline(1, color="k", linewidth=0.5)
ax.set(xlabel="spectral dependence ratio", ylabel="filters")
ax.legend()

# %%
# The finding.
right = np.sum(ratios[:, 0] > ratios[:, 1])
print(
    f"The larger of the two ratios points from cause to effect for {right} of 50 "
    f"filters; it is {ratios[:, 0].mean():.2f} on average, the other "
    f"{ratios[:, 1].mean():.2f}."
)
