"""Reference side of the golden values in `src/tier1`: prints the constants of its tests.

Made with river 0.26.1, numpy 2.4.6, Python 3.11:
    pip install river==0.26.1
    python tier1.py
"""

import numpy as np
from river.drift import PageHinkley

i = np.arange(40)
data = (i * 37 % 11) / 5 - np.where(i < 25, 1.0, 0.4)
test = PageHinkley(min_instances=1, delta=0.25, threshold=1e9, alpha=1.0)
for k, x in enumerate(data):
    test.update(float(x))
    if k in (2, 10, 30, 39):
        # Its extremes start at infinity and -1; those of the sums at zero.
        above = test._sum_increase - min(test._min_increase, 0.0)
        below = max(test._max_decrease, 0.0) - test._sum_decrease
        print("RIVER", (k, above, below))

i = np.arange(64)
x = i % 8 + (i * 37 % 11) / 5.0
x[40] += 9
f = np.fft.rfft((x - x.mean()) / np.abs(x - x.mean()).max())
log = np.log(np.maximum(np.abs(f[1:]), np.sqrt(1e-26 * 64)))
smooth = np.array([log[max(k - 1, 0) : k + 2].mean() for k in range(len(log))])
residual = np.r_[0, np.exp(log - smooth + 1j * np.angle(f[1:]))]
s = np.abs(np.fft.irfft(residual, 64))
s /= s.mean()
print("SALIENCY", [(int(k), float(s[k])) for k in (0, 1, 20, 39, 40, 63)])
