"""Reference side of the golden values in `src/tier2/fitted`: forecasts and parameters of Prophet itself.

Made with prophet 1.5.0 (Stan inside its package), Python 3.11:
    pip install prophet==1.5.0
    python prophet.py
"""

import numpy as np
import pandas as pd
from prophet import Prophet


def flat(i):
    return 20.0 + [0.0, 2.0, 5.0, 3.0, 1.0, -4.0, -6.0][i % 7] + (i * 37 % 11) / 5.0 - 1.0


def daily(i):
    return flat(i) + 0.03 * i + 0.02 * max(i - 60, 0)


def hourly(i):
    waves = 8.0 * np.sin(2 * np.pi * i / 24) + 3.0 * np.cos(4 * np.pi * i / 24)
    return 50.0 + waves + (i * 37 % 11) / 5.0 - 1.0 + (6.0 if i == 100 else 0.0)


def rising(i):
    season = [0.0, 1.0, 2.0, 1.0, 0.0, -2.0, -2.0][i % 7]
    return 90.0 / (1.0 + np.exp(-0.05 * (i - 60))) + season + (i * 37 % 11) / 5.0


def show(name, values, freq, cap=None, search=None, **options):
    n = len(values)
    data = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=n, freq=freq), "y": values})
    if cap:
        data["cap"] = cap
    model = Prophet(n_changepoints=5, uncertainty_samples=0, **options)
    model.fit(data, **(search or {}))
    future = model.make_future_dataframe(periods=40, freq=freq)
    if cap:
        future["cap"] = cap
    forecast = model.predict(future)["yhat"].to_numpy()
    print(name, [(i, float(forecast[i])) for i in [0, n // 2, n - 1, n, n + 10, n + 39]])
    for parameter in ["k", "m", "sigma_obs", "delta", "beta"]:
        print("  ", parameter, [float(v) for v in model.params[parameter].ravel()])


show("DAILY", [daily(i) for i in range(140)], "D")
show("HOURLY", [hourly(i) for i in range(240)], "h")
show("LOGISTIC", [rising(i) for i in range(140)], "D", cap=100.0, growth="logistic")
newton = {"algorithm": "Newton", "iter": 200_000}
show("NEWTON", [rising(i) for i in range(140)], "D", cap=100.0, search=newton, growth="logistic")
show("FLAT", [flat(i) for i in range(140)], "D", growth="flat")
show("MULTIPLICATIVE", [daily(i) for i in range(140)], "D", seasonality_mode="multiplicative")
