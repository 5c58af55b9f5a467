"""Reference side of the golden values in `src/tier2`: prints the constants of its tests.

Made with statsmodels 0.15.0, numpy 2.4.6, scipy 1.17.1, Python 3.11:
    pip install statsmodels==0.15.0
    python tier2.py
"""

import numpy as np
from statsmodels.tsa.ar_model import AutoReg
from statsmodels.tsa.holtwinters import ExponentialSmoothing
from statsmodels.tsa.seasonal import STL
from statsmodels.tsa.stattools import acf


def show(name, values):
    print(name, [float(v) for v in np.atleast_1d(values)])


# `example` of the tests: a season of twelve, a bend, something like noise, two outliers.
i = np.arange(121)
example = 10 + 0.05 * i + np.array([0, 2, 5, 3, 1, 0, -1, -4, -6, -3, -1, 0])[i % 12] + (i * 37 % 11) / 5 - 1
example[60:] += 3
example[40] += 25
example[90] -= 30
AT = [0, 1, 13, 40, 59, 60, 61, 90, 119, 120]

show("ACF", acf([1.0, 2.0, 4.0, 3.0, 7.0, 6.0, 5.0, 9.0, 8.5, 2.5], nlags=4, fft=True))

plain = STL(example, period=12, seasonal=7, trend=23, low_pass=13).fit(inner_iter=2, outer_iter=0)
show("STL_TREND", plain.trend[AT])
show("STL_SEASONAL", plain.seasonal[AT])
jumps = STL(example, period=12, seasonal=7, trend=23, low_pass=13, trend_jump=3, low_pass_jump=2)
jumps = jumps.fit(inner_iter=5, outer_iter=0)
show("STL_JUMP_TREND", jumps.trend[AT])
show("STL_JUMP_SEASONAL", jumps.seasonal[AT])
robust = STL(example, period=12, seasonal=7, trend=23, low_pass=13, robust=True)
robust = robust.fit(inner_iter=2, outer_iter=15)
show("STL_ROBUST_TREND", robust.trend[AT])
show("STL_ROBUST_SEASONAL", robust.seasonal[AT])
show("STL_ROBUST_TRUST", robust.weights[AT])

# The start of `HoltWinters`: mean of the first season, no trend, distances from the mean.
first = example[:12]
holt = ExponentialSmoothing(
    example[12:], trend="add", damped_trend=True, seasonal="add", seasonal_periods=12,
    initialization_method="known", initial_level=first.mean(), initial_trend=0.0,
    initial_seasonal=first - first.mean(),
)
holt = holt.fit(smoothing_level=0.3, smoothing_trend=0.1, smoothing_seasonal=0.2, damping_trend=0.9, optimized=False)
show("HOLT_WINTERS", holt.fittedvalues[[0, 1, 11, 12, 13, 50, 108]])
show("HOLT_WINTERS_AHEAD", holt.forecast(3))

show("AR_WEIGHTS", AutoReg(example, lags=3, trend="c").fit().params)
# The ridge towards "as the last value" in closed form, in the scaled units of `AutoRegression`.
first = example[:16]
shift = np.median(first)
scale = np.abs(first - shift).mean()
z = (example - shift) / scale
X = np.column_stack([np.ones(118), z[2:-1], z[1:-2], z[:-3]])
age = 0.5 ** (np.arange(117, -1, -1) / 50)
prior = np.array([0, 1.0, 0, 0])
ridge = 2.0 * 0.5 ** (118 / 50)
w = np.linalg.solve((X.T * age) @ X + ridge * np.eye(4), (X.T * age) @ z[3:] + ridge * prior)
w[0] = w[0] * scale + shift * (1 - w[1:].sum())
show("AR_RIDGE_WEIGHTS", w)


def s_h_esd(values, period, at_most, significance):
    """Hochenbaum et al. 2017 with everything computed anew at each removal."""
    from scipy.stats import t as student

    n = len(values)
    fit = STL(
        values, period=period, seasonal=10 * n + 1, seasonal_deg=0, trend=odd_above(1.5 * period),
        low_pass=odd_above(period), robust=True, trend_jump=jump(odd_above(1.5 * period)),
        low_pass_jump=jump(odd_above(period)),
    ).fit(inner_iter=2, outer_iter=2)
    rest = values - fit.seasonal - np.median(values)
    left = np.arange(n)
    found = []
    confirmed = 0
    for i in range(1, int(n * at_most) + 1):
        r = rest[left]
        scale = 1.482602218505602 * np.median(np.abs(r - np.median(r)))
        distance = np.abs(r - np.median(r))
        worst = np.argmax(distance)
        found.append((int(left[worst]), float(distance[worst] / scale)))
        q = student.ppf(1 - significance / (2 * (n - i + 1)), n - i - 1)
        if found[-1][1] > q * (n - i) / np.sqrt((n - i - 1 + q * q) * (n - i + 1)):
            confirmed = i
        left = np.delete(left, worst)
    return found[:confirmed]


def odd_above(x):
    return (int(x) + 1) | 1


def jump(window):
    return int(np.ceil(window * 0.1))


outliers = s_h_esd(example, 12, 0.1, 0.05)
print("OUTLIERS", [o[0] for o in outliers])
show("OUTLIER_STATISTICS", [o[1] for o in outliers])


def poly(values, window, neighbourhood, degree):
    n = len(values)
    reach = neighbourhood * window
    scores = np.zeros(n)
    for start in range(0, n, window):
        end = min(start + window, n)
        first = max(start + window // 2 - reach // 2, 0)
        last = min(first + reach, n)
        first = max(last - reach, 0)
        x = np.r_[np.arange(first, start), np.arange(end, last)]
        mid = (first + last) / 2
        curve = np.polynomial.Polynomial.fit(x - mid, values[x], degree)
        inside = np.arange(start, end)
        scores[start:end] = np.sqrt(np.mean((values[inside] - curve(inside - mid)) ** 2))
    return scores


for degree in (1, 4):
    show(f"POLY_{degree}", poly(example, 10, 6, degree)[[0, 9, 10, 45, 60, 95, 119, 120]])

z = (example - example.mean()) / example.std()
windows = np.lib.stride_tricks.sliding_window_view(z, 12)
_, singular, shapes = np.linalg.svd(windows, full_matrices=False)
share = np.cumsum(singular**2) / np.sum(singular**2)
k = int(np.searchsorted(share, 0.7) + 1)
rest = windows - windows @ shapes[:k].T @ shapes[:k]
print("SUB_PCA_COMPONENTS", [k])
show("SUB_PCA", np.sqrt((rest**2).mean(axis=1))[np.array([11, 12, 40, 51, 52, 89, 101, 120]) - 11])

# pip install --no-deps bayesian-changepoint-detection==0.2.dev1 decorator
from functools import partial
from bayesian_changepoint_detection.online_changepoint_detection import (
    StudentT, constant_hazard, online_changepoint_detection,
)

data = (np.arange(60) * 37 % 11) / 5 - 1.0
data[30:] += 3
R, _ = online_changepoint_detection(data, partial(constant_hazard, 50), StudentT(1, 1, 0.05, 0))
for i in (0, 30, 31, 35, 59):
    show(f"RUN_LENGTHS_{i}", [R[r, i + 1] for r in (0, 1, 2, 5, 31)])
