"""Grows a small forest with scikit-learn and prints its tables and scores: the numbers in `README.md`."""
import json

import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest

n = np.arange(40)
data = np.stack([np.sin(1.3 * n), np.cos(0.7 * n) * 2], axis=1).astype(np.float32)
forest = IsolationForest(n_estimators=3, max_samples=16, random_state=7).fit(data)
rows = np.array([[0.1, 0.2], [5.0, -5.0], [-0.9, 1.9], [0.5, -1.5], [9.0, 9.0]], dtype=np.float32)
print("scikit-learn", sklearn.__version__)
for tree in forest.estimators_:
    t = tree.tree_
    print(json.dumps({
        "left": t.children_left.tolist(),
        "right": t.children_right.tolist(),
        "feature": t.feature.tolist(),
        "threshold": [round(float(np.float32(v)), 9) for v in t.threshold],
        "samples": t.n_node_samples.tolist(),
    }))
print((-forest.score_samples(rows)).tolist())
