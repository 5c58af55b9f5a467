"""Reference side of the golden values in `src/eval`: prints the constants of its tests.

Made with TSB-AD 1.5 (metrics only), scikit-learn 1.9.1, statsmodels 0.15.0, numpy 2.4.6, Python 3:
    pip download tsb-ad==1.5 --no-deps && unzip TSB_AD-1.5-py3-none-any.whl
    pip install numpy scipy scikit-learn statsmodels matplotlib
    PYTHONPATH=. python eval.py
"""

import importlib.util
import math
import sys
import types

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

# The package's __init__ pulls in torch; the metrics do not need it.
for name, path in (("TSB_AD", "TSB_AD"), ("TSB_AD.evaluation", "TSB_AD/evaluation"), ("TSB_AD.utils", "TSB_AD/utils")):
    package = types.ModuleType(name)
    package.__path__ = [path]
    sys.modules[name] = package
from TSB_AD.evaluation.basic_metrics import basic_metricor, generate_curve
from TSB_AD.utils.slidingWindows import find_length_rank

LAYOUTS = [
    [(50, 70), (200, 201), (300, 340)],
    [(0, 5), (8, 9), (12, 30), (395, 400)],
    [(100, 101)],
    [(20, 30), (33, 40), (41, 60), (150, 250), (252, 253), (390, 399)],
]


def golden_case(layout):
    n = 400
    labels = np.zeros(n, dtype=int)
    for start, end in LAYOUTS[layout]:
        labels[start:end] = 1
    scores = np.array([
        ((i * 7919 + layout * 104729) % 1009) / 1009.0
        + (0.5 if (labels[i] or (i >= 3 and labels[i - 3])) and i % 3 != 0 else 0.0)
        for i in range(n)
    ])
    return scores, labels


grader = basic_metricor()
grader.eps = 1e-15
for layout in range(4):
    s, y = golden_case(layout)
    p, r, _ = precision_recall_curve(y, s)
    f = np.max(2 * p * r / np.maximum(p + r, 1e-300))
    print("pr", layout, repr(float(average_precision_score(y, s))), repr(float(f)))
    for window in (0, 1, 2, 7, 20, 125):
        *_, roc, pr = generate_curve(y, s, window, "opt", 250)
        print("vus", layout, window, repr(float(pr)), repr(float(roc)))
    print("range", layout, repr(float(grader.metric_RF1(y, s))))
    print("event", layout, repr(float(grader.metric_EventF1PA(y, s))))
    print("adjusted", layout, repr(float(grader.metric_PointF1PA(y, s))))
    print("affiliation", layout, repr(float(grader.metric_Affiliation(y, s))))
for period in (48.0, 290.0, 5.0, 1.0e9):
    x = np.array([10.0 * math.sin(i * (2 * math.pi / period)) + ((i * 7919) % 101) / 101.0 for i in range(2000)])
    print("period", period, find_length_rank(x))
