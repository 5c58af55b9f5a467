# Golden values of src/tier3/tails.rs. pip install pyod; python tails.py
import numpy as np
import pyod
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD

a = [0.5, 1.0, 1.5, 1.5, 2.0, 2.5, 3.0, 3.5, 9.0, 0.25]
b = [4.0, 4.5, 5.0, 5.5, 5.25, 4.75, 4.25, -3.0, 5.0, 5.125]
x = np.array([a, b]).T
print("pyod", pyod.version.__version__)
for model in [ECOD(), COPOD()]:
    print(type(model).__name__, [float(s) for s in model.fit(x).decision_scores_])
