"""Reference side of the golden values in `src/tier3/rcf/tree.rs`: mean displacement of a point in random cut trees.

Made with rrcf 0.4.4 and numpy 2.4.6, Python 3.11:
    pip install rrcf==0.4.4
    python rcf.py
"""

import numpy as np
import rrcf

TREES = 16_000


def points():
    """Twenty-four points in three dimensions: a crowd on a lattice, and four that lie apart."""
    crowd = [((7 * i) % 20 / 8, (3 * i) % 20 / 4, (11 * i) % 20 / 16) for i in range(20)]
    return np.array(crowd + [(9.0, 1.0, 0.5), (9.5, 1.5, 0.25), (-4.0, 8.0, 1.0), (1.0, -6.0, 3.0)])


QUERIES = {
    "in the crowd": (1.1, 2.3, 0.6),
    "at its rim": (2.6, 5.0, 1.3),
    "beside the pair": (9.2, 1.2, 0.4),
    "outside": (20.0, -9.0, 6.0),
}

found = {name: [] for name in QUERIES}
for seed in range(TREES):
    np.random.seed(seed)
    tree = rrcf.RCTree(points(), random_state=seed)
    for name, query in QUERIES.items():
        leaf = tree.insert_point(np.array(query), index="query")
        found[name].append(tree.disp(leaf) / 24)
        tree.forget_point("query")
for name, shares in found.items():
    shares = np.array(shares)
    print(f"{name}: {shares.mean():.5f} +- {shares.std() / np.sqrt(TREES):.5f}")
